"""From outcomes of tasks to rows: the evidence about each variant, and the metrics' figures from it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from harness.data.tasks import Task
from harness.engine.outcomes import CRASH, TIMEOUT, Done, Failed, Outcome
from harness.engine.store import Artifact
from harness.metrics import metrics
from harness.metrics.base import Evidence
from harness.results import Cost, Memory, MetricValue, Row
from harness.runs.energy import energy_of
from harness.runs.layer_times import with_times
from harness.runs.load import load_measured
from harness.runs.own_metrics import OwnMetrics
from harness.runs.parity import evidence
from harness.runs.peak import peaks_of
from harness.runs.plan import VariantPlan
from harness.stages.artifacts import (
    LABELS,
    LATENCY,
    OUTPUTS,
    BuildResult,
    CalibrateResult,
    Checked,
    ExportResult,
    FinetuneResult,
    LatencyResult,
    QuantizeResult,
    StreamsResult,
    TrainResult,
    file_of,
    onnx_of,
)
from harness.timing.samples import Timings
from harness.verdicts.settings import Judgement
from harness.words.precision import other_precisions

ResultT = TypeVar("ResultT", bound=BaseModel)
_COST_STAGES = ("train", "calibrate", "quantize", "finetune", "export", "build")
_CHECKED_STAGES = ("check", "calibrate", "quantize", "finetune", "export", "build")


@dataclass
class RunOutcomes:
    """Everything that the tasks of a run produced."""

    outcomes: Mapping[str, Outcome]
    """By key of the task."""
    latency: Mapping[str, Outcome] = field(default_factory=dict)
    """Outcomes of the measuring task, by variant id."""
    peaks: Mapping[str, Outcome] = field(default_factory=dict)
    """Outcomes of the task that measured the CPU's peak with the row's number of threads, by variant id."""
    energy: Mapping[str, Outcome] | None = None
    """Outcomes of the energy task, by variant id; None when the scenario does not ask for energy."""
    load: Mapping[str, Outcome] = field(default_factory=dict)
    """Outcomes of the task with the load scenarios, by variant id."""
    layer_times: Mapping[str, Outcome] = field(default_factory=dict)
    """Outcomes of the task that timed layers, by variant id; one that fails leaves the row as it is."""
    streams: Mapping[str, Outcome] = field(default_factory=dict)
    """Outcomes of the task that counted with several streams, by variant id."""

    def artifact(self, plan: VariantPlan, name: str) -> Artifact | None:
        """What one task of a variant made, or None."""
        task = plan.tasks.get(name)
        outcome = self.outcomes.get(task.key) if task is not None else None
        return outcome.artifact if isinstance(outcome, Done) else None

    def result(self, plan: VariantPlan, name: str, kind: type[ResultT]) -> ResultT | None:
        """What the stage of one task of a variant returned, or None."""
        artifact = self.artifact(plan, name)
        return None if artifact is None else artifact.result(kind)

    def failure(self, plan: VariantPlan) -> Failed | None:
        """The first task of a variant that failed, or None."""
        for task in plan.tasks.values():
            outcome = self.outcomes.get(task.key)
            if isinstance(outcome, Failed):
                return outcome
        of_variant = (found.get(plan.variant.id) for found in (self.latency, self.load, self.streams))
        measured = (*of_variant, self._crash_in_energy(plan))
        return next((outcome for outcome in measured if isinstance(outcome, Failed)), None)

    def _crash_in_energy(self, plan: VariantPlan) -> Failed | None:
        """Energy that cannot be counted leaves the row as it is; an engine that crashes or hangs meanwhile does not."""
        outcome = (self.energy or {}).get(plan.variant.id)
        return outcome if isinstance(outcome, Failed) and outcome.kind in (CRASH, TIMEOUT) else None


def make_row(plan: VariantPlan, evidence: Evidence, run_outcomes: RunOutcomes, own: OwnMetrics | None = None) -> Row:
    """The row of one variant; what a failed task left unknown stays empty."""
    variant = plan.variant
    if plan.broken is not None or plan.unavailable is not None:
        status = "unavailable" if plan.broken is None else "failed"
        return Row(variant=variant, status=status, reason=plan.broken or plan.unavailable)
    failure = run_outcomes.failure(plan)
    figures: dict[str, Any] = {}
    extra: dict[str, MetricValue] = dict(own.values) if own is not None else {}
    faults = list(filter(None, [_not_numbers(evidence), *(own.faults if own is not None else ())]))
    for metric in metrics().values():
        if metric.tasks is not None and evidence.task not in metric.tasks:
            continue
        record = metric.compute(evidence)
        if record is None:
            continue
        faults += filter(None, [metric.fault(record)])
        if metric.section is not None:
            figures[metric.section] = record
        elif isinstance(record, MetricValue) and metric.figure is not None:
            described = {"header": metric.figure.header, "definition": metric.figure.definition}
            extra[metric.name] = record.model_copy(update=described)
    reason = f"{failure.label}: {failure.reason}" if failure is not None else "; ".join(faults) or None
    status = "failed" if reason else "simulated" if plan.simulated else "built" if plan.not_run else "ok"
    reason = reason or plan.not_run or (_why_simulated(plan) if plan.simulated else None)
    reason = reason or other_precisions(variant.method, evidence.layers)
    checked = [run_outcomes.result(plan, name, Checked) for name in _CHECKED_STAGES]
    checks = tuple(check for each in checked if each is not None for check in each.checks)
    figures |= {"metrics": extra, "cost": _cost(plan, run_outcomes), "checks": checks}
    return Row(variant=variant, status=status, reason=reason, **figures)


def _why_simulated(plan: VariantPlan) -> str:
    judged = "the fake-quantized network only"
    if "outputs" in plan.tasks:
        judged = "its engine, which computes in float what is not 8-bit"
    return f"{plan.variant.target} has no integer kernels for this number format: accuracy of {judged}"


def _not_numbers(evidence: Evidence) -> str | None:
    """Why the outputs are worth nothing; accuracy would be that of whatever argmax makes of NaN."""
    outputs = evidence.network_outputs
    if outputs is None:
        return None
    broken = np.flatnonzero(np.isnan(outputs).reshape(len(outputs), -1).any(axis=1))
    if not len(broken):
        return None
    return (
        f"the outputs hold NaN for {len(broken):,} of {len(outputs):,} test samples, first for number {broken[0]}: "
        "`measurement.parity: layers` shows where they arise"
    )


def _timings(path: Path) -> Timings:
    return _timings_at(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _timings_at(path: Path, _mtime_ns: int) -> Timings:
    """All rows of a group read one file. A measurement that is repeated writes another one in its place."""
    return Timings.from_parquet(path)


def collect_evidence(
    plan: VariantPlan,
    reference: VariantPlan | None,
    run_outcomes: RunOutcomes,
    judgement: Judgement,
    threads: int,
    seed: int = 0,
    task: Task = "classification",
    class_names: tuple[str, ...] = (),
) -> Evidence:
    """What is known about one variant."""
    build, export = run_outcomes.artifact(plan, "build"), run_outcomes.artifact(plan, "export")
    built = None if build is None else build.result(BuildResult)
    latency = run_outcomes.latency.get(plan.variant.id)
    measured = latency.artifact if isinstance(latency, Done) else None
    timed = None if measured is None else measured.result(LatencyResult)
    streamed = run_outcomes.streams.get(plan.variant.id)
    outputs, load = _outputs(plan, "outputs", run_outcomes), run_outcomes.load.get(plan.variant.id)
    failed = "outputs" in plan.tasks and outputs is None
    layers = with_times(
        () if built is None else built.layers, run_outcomes.layer_times.get(plan.variant.id), plan.variant.id
    )
    return Evidence(
        variant=plan.variant,
        judgement=judgement,
        is_reference=plan.variant.id == plan.reference_id,
        reference_id=plan.reference_id,
        labels=_labels(reference, run_outcomes),
        class_names=class_names,
        outputs=outputs,
        reference_outputs=None if reference is None else _reference_outputs(reference, run_outcomes),
        # Beside an engine the torch network runs on the first samples only: no accuracy where the engine failed.
        torch_outputs=None if failed else _outputs(plan, "torch_outputs", run_outcomes),
        chain=evidence(plan.chain, run_outcomes.outcomes),
        timings=None if measured is None else _timings(measured.file(LATENCY)),
        timing_reference_id=None if timed is None else timed.reference,
        analyses=1 if timed is None else timed.analyses,
        watched=() if timed is None else timed.watched,
        parts_ms={} if timed is None else timed.parts_ms.get(plan.variant.id, {}),
        onnx_path=None if export is None else onnx_of(export),
        engine_path=None if build is None or plan.simulated else file_of(build),
        weight_bytes=None if built is None or plan.simulated else built.weight_bytes,
        layers=with_times(layers, run_outcomes.layer_times.get(plan.variant.id), plan.variant.id),
        by_streams=streamed.artifact.result(StreamsResult).by_streams if isinstance(streamed, Done) else (),
        memory=run_outcomes.result(plan, "memory", Memory),
        energy=None if run_outcomes.energy is None else energy_of(plan, run_outcomes.energy.get(plan.variant.id)),
        load=load_measured(load.artifact, outputs) if isinstance(load, Done) else None,
        threads=threads,
        peaks=peaks_of(run_outcomes.peaks.get(plan.variant.id)),
        task=task,
        seed=seed,
        includes_transfers=timed is not None and timed.includes_transfers,
    )


def _outputs(plan: VariantPlan, name: str, run_outcomes: RunOutcomes) -> npt.NDArray[np.float32] | None:
    artifact = run_outcomes.artifact(plan, name)
    return None if artifact is None else np.load(artifact.file(OUTPUTS), allow_pickle=False)


def _reference_outputs(reference: VariantPlan, run_outcomes: RunOutcomes) -> npt.NDArray[np.float32] | None:
    """None where they hold NaN: what is no number is nothing to lose against."""
    outputs = _outputs(reference, "outputs", run_outcomes)
    return None if outputs is None or np.isnan(outputs).any() else outputs


def _labels(reference: VariantPlan | None, run_outcomes: RunOutcomes) -> npt.NDArray[np.int64] | None:
    artifact = None if reference is None else run_outcomes.artifact(reference, "outputs")
    has_labels = artifact is not None and LABELS in artifact.manifest.files
    return np.load(artifact.file(LABELS), allow_pickle=False) if artifact is not None and has_labels else None


def _cost(plan: VariantPlan, run_outcomes: RunOutcomes) -> Cost:
    """Cost of the stages that make the variant, without those that measure it."""
    artifacts = {name: run_outcomes.artifact(plan, name) for name in _COST_STAGES}
    train = run_outcomes.result(plan, "train", TrainResult)
    calibrate = run_outcomes.result(plan, "calibrate", CalibrateResult)
    quantize = run_outcomes.result(plan, "quantize", QuantizeResult)
    finetune = run_outcomes.result(plan, "finetune", FinetuneResult)
    export = run_outcomes.result(plan, "export", ExportResult)
    build = run_outcomes.result(plan, "build", BuildResult)
    passes = [each.data_passes for each in (calibrate, quantize) if each is not None]
    return Cost(
        train_s=train and train.train_s,
        calibrate_s=calibrate and calibrate.calibrate_s,
        quantize_s=quantize.quantize_s if quantize is not None else export and export.quantize_s,
        finetune_s=finetune and finetune.finetune_s,
        export_s=None if artifacts["export"] is None else artifacts["export"].manifest.seconds,
        build_s=build and build.build_s,
        data_passes=sum(passes) if passes else None,
        peak_bytes={name: each.peak_bytes for name, each in artifacts.items() if each and each.peak_bytes is not None},
    )


def copy_name(plan: VariantPlan, input_shape: tuple[int, ...]) -> Path:
    """File name of the variant's ONNX: `{variant}_{BxCxHxW}_{method}.onnx`."""
    shape = "x".join(str(size) for size in (plan.variant.batch_size, *input_shape))
    return Path(f"{plan.variant.id}_{shape}_{plan.variant.method}.onnx")
