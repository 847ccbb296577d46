"""Steps from torch to torch: eager network, captured graph, graph with quantizers that are switched off."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule

from harness.results import CheckedStep, StepCheck
from harness.verification.figures import (
    EXACT_DB,
    SIZES,
    StepFailed,
    batches,
    in_decibels,
    is_rounding,
    passed,
    require_same_shape,
    run_all,
    sqnr_db,
)
from harness.verification.places import first_wrong_module, first_wrong_node, node_values

if TYPE_CHECKING:
    from harness.verification.figures import Array, Run

_REWRITE = "write that part of the network in another way, and check the graph with `torch.export.export`"
_ONE_TENSOR = "let `forward` return one tensor"


def as_run(network: torch.nn.Module) -> Run:
    """The network as a function of arrays, without gradients. Its mode stays as it is."""

    def run(batch: Array) -> Array:
        with torch.no_grad():
            return as_array(network(torch.from_numpy(batch)))

    return run


def as_array(output: Any) -> Array:
    """One output tensor as an array; types that numpy does not have as float32."""
    if not isinstance(output, torch.Tensor):
        raise StepFailed(f"the network returns {type(output).__name__}, not a tensor", fix=_ONE_TENSOR)
    output = output.detach()
    array: Array = (output.float() if output.dtype in (torch.bfloat16, torch.float16) else output).numpy()
    return array


def check_capture(network: torch.nn.Module, graph: GraphModule, samples: Array) -> StepCheck:
    """The captured graph against the network in eval mode; StepFailed with the first module that differs."""
    step: CheckedStep = "eager → captured"
    inputs = batches(samples)
    expected = run_all(step, as_run(network), inputs, "the network itself must take any batch size")
    _require_repeatable(network, inputs, expected)
    _require_independent_samples(network, samples, expected)
    got = run_all(step, as_run(graph), inputs, _REWRITE)
    return judge_exact(
        step,
        expected,
        got,
        exact=lambda: in_float64(network, inputs),
        place=lambda: first_wrong_module(network, graph, torch.from_numpy(inputs[-1])),
        fix=_REWRITE,
    )


def _require_repeatable(network: torch.nn.Module, inputs: Sequence[Array], expected: Sequence[Array]) -> None:
    again = run_all("eager → captured", as_run(network), inputs, "")
    figure = sqnr_db(expected, again)
    if figure < EXACT_DB and not is_rounding(expected, again, in_float64(network, inputs)):
        raise StepFailed(
            f"the network gives different outputs for the same input ({in_decibels(figure)} between two runs)",
            fix="nothing random and nothing that changes a state may run in eval mode: "
            "`F.dropout(x, training=self.training)`, no `torch.rand` in `forward`",
        )


def _require_independent_samples(network: torch.nn.Module, samples: Array, expected: Sequence[Array]) -> None:
    """Raise StepFailed when the outputs of a sample change with the other samples in its batch.

    Accuracy and outputs of such a network depend on the batch size, which is another one when it is deployed.
    """
    step: CheckedStep = "eager → captured"
    together = run_all(step, as_run(network), [samples], "the network itself must take any batch size")[0]
    if together.ndim == 0 or any(one.shape[1:] != together.shape[1:] for one in expected):
        return  # one row for each sample is what the metrics require, with a message of their own
    alone = np.concatenate(expected)
    if len(alone) != len(together):
        return
    figure = sqnr_db([together], [alone])
    if figure >= EXACT_DB or is_rounding([together], [alone], in_float64(network, [samples])):
        return
    raise StepFailed(
        "the outputs for a sample depend on the other samples in its batch: in batches of "
        f"{' and '.join(map(str, SIZES))} they agree with those in a batch of {len(samples)} to "
        f"{in_decibels(figure)} only",
        fix="let nothing in eval mode use statistics of the batch or its size: batch norm with running statistics "
        "(`track_running_stats=True`, in eval mode), no mean over dimension 0, no branch on `x.shape[0]`",
    )


def check_prepared(reference: GraphModule, prepared: GraphModule, samples: Array) -> StepCheck:
    """A network with quantizers that are switched off against the graph it was made from."""
    step: CheckedStep = "captured → prepared"
    inputs = batches(samples)
    expected = run_all(step, as_run(reference), inputs, _REWRITE)
    got = run_all(step, as_run(prepared), inputs, _REWRITE)
    return judge_exact(
        step,
        expected,
        got,
        exact=lambda: in_float64(reference, inputs),
        place=lambda: first_wrong_node(
            reference, list(node_values(prepared, torch.from_numpy(inputs[-1])).values()), torch.from_numpy(inputs[-1])
        ),
        fix="skip the layer (`skip`), or leave out the PTQ step that changes weights (`ptq_steps`)",
    )


def in_float64(network: torch.nn.Module, inputs: Sequence[Array]) -> list[Array] | None:
    """Outputs computed in float64; None for networks that cannot be."""
    try:
        run = as_run(copy.deepcopy(network).double())
        return [run(batch.astype("float64")) for batch in inputs]
    except Exception:  # types that are written into the network
        return None


def judge_exact(
    step: CheckedStep,
    expected: Sequence[Array],
    got: Sequence[Array],
    *,
    exact: Callable[[], Sequence[Array] | None],
    place: Callable[[], str | None],
    fix: str,
) -> StepCheck:
    """Pass, or StepFailed with the figure and the place; `exact` and `place` are asked for only then."""
    require_same_shape(step, expected, got, fix)
    figure = sqnr_db(expected, got)
    if figure >= EXACT_DB or is_rounding(expected, got, exact()):
        return passed(step, figure, EXACT_DB)
    where = _quietly(place)
    first = f"; the first difference is at {where}" if where else ""
    raise StepFailed(
        f"{step}: the outputs agree to {in_decibels(figure)} only, {EXACT_DB:g} dB are needed{first}", fix=fix
    )


def _quietly(place: Callable[[], str | None]) -> str | None:
    """The place, where it can be found: failing to find it must not hide the failure itself."""
    try:
        return place()
    except Exception:
        return None
