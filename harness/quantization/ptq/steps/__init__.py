"""PTQ steps beyond calibration, found by being files in this folder."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

from torch.fx import GraphModule

from harness.errors import UsageError, unknown_name
from harness.quantization.ptq.base import Batches, CalibratedStep, PtqStep, WeightStep
from harness.quantization.ptq.layers import add_missing_biases
from harness.registry import members, plugged


@functools.cache
def ptq_steps() -> dict[str, PtqStep]:
    """Every step by its name."""
    return members(__name__, __path__, "STEP")


def get_ptq_step(name: str) -> PtqStep:
    """The step of this name; UsageError with the nearest name when there is none."""
    if (plugin := plugged("PTQ step", name)) is not None:
        return plugin  # type: ignore[no-any-return]
    known = ptq_steps()
    if name not in known:
        message, fix = unknown_name("PTQ step", name, known)
        raise UsageError(message, fix=fix)
    return known[name]


def before_calibration(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the steps that change weights before ranges are collected: all that calibration depends on."""
    return tuple(name for name in names if isinstance(get_ptq_step(name), WeightStep))


def changing_the_function(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the steps after which the FP32 network computes something else."""
    return tuple(name for name in names if not get_ptq_step(name).keeps_function)


def change_weights(captured: GraphModule, names: Sequence[str]) -> tuple[GraphModule, list[str]]:
    """A copy of the captured network that `prepare` takes for these steps, and the notes of the weight steps.

    `captured` itself when there are no steps. Needs no data, so every stage repeats it and gets the same network.
    """
    if not names:
        return captured, []
    changed = copy.deepcopy(captured)
    steps = [get_ptq_step(name) for name in names]
    notes = [note for step in steps if isinstance(step, WeightStep) for note in step.apply(changed)]
    if any(isinstance(step, CalibratedStep) for step in steps):
        add_missing_biases(changed)
    changed.recompile()
    return changed, notes


def correct(prepared: GraphModule, names: Sequence[str], batches: Batches) -> list[str]:
    """Apply the steps that need calibration samples to a prepared network with ranges, in place; their notes."""
    steps = [get_ptq_step(name) for name in names]
    return [note for step in steps if isinstance(step, CalibratedStep) for note in step.apply(prepared, batches)]
