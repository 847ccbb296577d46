"""What explains a row rather than judges it: histograms and ranges, the network's structure, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.engine.graph import Task
from harness.engine.outcomes import Done, Outcome
from harness.engine.store import Artifact
from harness.exporting.network_structure import operators
from harness.quantization.formats import IntegerFormat
from harness.quantization.histogram import Histogram, load_histograms
from harness.quantization.state_file import activation_scales
from harness.results import CalibratedTensor, Calibration, ChosenRanges, Network, Variant
from harness.runs.plan import VariantPlan
from harness.runs.rows import RunOutcomes
from harness.stages.artifacts import HISTOGRAMS, STATE, onnx_of
from harness.targets import get_target

_BINS = 64


def calibrations(plans: Sequence[VariantPlan], run_outcomes: RunOutcomes) -> tuple[Calibration, ...]:
    """One record for each calibration pass, with the ranges of every variant that was made from it."""
    passes: dict[str, tuple[Artifact, list[VariantPlan]]] = {}
    for plan in plans:
        artifact = run_outcomes.artifact(plan, "calibrate")
        if artifact is not None:
            passes.setdefault(artifact.manifest.key, (artifact, []))[1].append(plan)
    return tuple(_calibration(artifact, users, run_outcomes) for artifact, users in passes.values())


def _calibration(artifact: Artifact, users: Sequence[VariantPlan], run_outcomes: RunOutcomes) -> Calibration:
    histograms = load_histograms(artifact.file(HISTOGRAMS))
    variants: dict[str, list[str]] = {}
    for plan in users:
        state = run_outcomes.artifact(plan, "finetune") or run_outcomes.artifact(plan, "quantize")
        if state is not None:
            variants.setdefault(json.dumps(_ranges(state, plan.variant)), []).append(plan.variant.id)
    ranges = tuple(ChosenRanges(variants=tuple(ids), amax=json.loads(amax)) for amax, ids in variants.items())
    quantized = {name for each in ranges for name in each.amax}
    return Calibration(
        model=users[0].variant.model,
        place=users[0].variant.place,
        tensors=tuple(_tensor(name, found) for name, found in histograms.items() if name in quantized),
        ranges=ranges,
    )


def _ranges(state: Artifact, variant: Variant) -> dict[str, float]:
    """Largest |x| of every activation that is not clipped."""
    number_format = get_target(variant.target).number_format(variant.weight_bits or 8, variant.activation_bits or 8)
    scales = activation_scales(state.file(STATE))
    return {
        name: float(f"{scale * _steps(number_format.activations, zero):.6g}") for name, (scale, zero) in scales.items()
    }


def _steps(integer: IntegerFormat, zero_point: int) -> int:
    """From zero to the farther end of the range."""
    upwards = integer.quant_max - zero_point
    return upwards if integer.symmetric else max(upwards, zero_point - integer.quant_min)


def _tensor(name: str, histogram: Histogram) -> CalibratedTensor:
    counts = histogram.used_counts
    bins = np.array_split(counts, _BINS) if len(counts) >= _BINS else [counts]
    return CalibratedTensor(
        name=name,
        n=histogram.n,
        minimum=histogram.minimum,
        maximum=histogram.maximum,
        counts=tuple(int(each.sum()) for each in bins),
    )


def networks(plans: Sequence[VariantPlan], run_outcomes: RunOutcomes) -> tuple[Network, ...]:
    """The structure of every model, from the file of its first variant that was exported."""
    files: dict[str, Path] = {}
    for plan in plans:
        artifact = run_outcomes.artifact(plan, "export")
        path = None if artifact is None else onnx_of(artifact)
        if path is not None:
            files.setdefault(plan.variant.model, path)
    return tuple(Network(model=model, operators=operators(path)) for model, path in files.items())


def keep_log(plan: VariantPlan, run_outcomes: RunOutcomes, directory: Path) -> str | None:
    """Write what happened in each of the variant's stages; the file's name in the run's folder, None without stages."""
    tasks = [(task, run_outcomes.outcomes.get(task.key)) for task in plan.all_tasks]
    lines = [line for task, outcome in tasks if outcome is not None for line in _log(task, outcome)]
    if not lines:
        return None
    relative = Path("logs") / f"{plan.variant.id}.txt"
    (directory / relative).parent.mkdir(parents=True, exist_ok=True)
    (directory / relative).write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    return relative.as_posix()


def _log(task: Task, outcome: Outcome) -> Iterator[str]:
    yield f"{task.label} [{task.stage.name} {task.key}]"
    if isinstance(outcome, Done):
        yield f"  {'from the store, computed' if outcome.cached else 'computed'} in {outcome.seconds:.2f} s"
        meta = {name: value for name, value in outcome.artifact.meta.items() if name != "layers"}  # the audit has them
        yield from (f"  {name}: {json.dumps(value)}" for name, value in meta.items())
    else:
        yield f"  failed: {outcome.reason}"
        yield from (f"  {line}" for text in (outcome.details, outcome.output) for line in text.splitlines())
