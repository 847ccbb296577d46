"""Timing: which variants take turns in the same rounds, and what came of it for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import CRASH, Done, Failed, Outcome
from harness.runs.passes import Measured, Outcomes, Tasks, measure
from harness.runs.plan import VariantPlan
from harness.stages.artifacts import LatencyResult
from harness.verdicts.latency import speedups

if TYPE_CHECKING:
    from harness.runs.preparation import Prepared

Groups = Mapping[str, Sequence[VariantPlan]]
"""Variants that are timed together, by the id of the FP32 row that all of them are compared with."""


def run_latency(
    prepared: Prepared, executor: LocalExecutor, outcomes: Mapping[str, Outcome], measurement_id: str
) -> Measured:
    """Time the variants of each model and batch size, all targets of one kind of device in the same rounds.

    Where that fails for a group of several targets as a whole, because the common reference fails, each target is timed
    with its own FP32 row: an engine costs the rows of its own target at most.
    """
    if not prepared.resolved.measurement.latency:
        return []
    groups = timed_groups(prepared.plans, outcomes)
    measured = _time(prepared, executor, groups, measurement_id)
    apart: dict[str, Sequence[VariantPlan]] = {}
    for reference, (_, outcome, _) in zip(groups, measured, strict=True):
        if isinstance(outcome, Failed):
            apart |= _by_target(groups[reference])
    if not apart:
        return measured
    kept = [each for each in measured if not (isinstance(each[1], Failed) and set(each[2]) & _ids(apart))]
    return [*kept, *_time(prepared, executor, apart, measurement_id)]


def latency_tasks(prepared: Prepared, outcomes: Outcomes | None, measurement_id: str) -> Tasks:
    """One task for each group of variants that are timed together; none when the scenario asks for no latency."""
    if not prepared.resolved.measurement.latency:
        return {}
    return _tasks(prepared, timed_groups(prepared.plans, outcomes), measurement_id)


def timed_groups(plans: Sequence[VariantPlan], outcomes: Outcomes | None) -> Groups:
    """Variants whose engine was built and runs, by their common FP32 row, which must be among them.

    Where that of another target is not among them, it is FP32 on the own target. An engine that failed when it ran
    before, in the evaluation or for its memory, would take the others of its group with it.
    """
    timed = [plan for plan in plans if plan.engine_runs(outcomes, "outputs", "memory")]
    ids = {plan.variant.id for plan in timed}
    groups: dict[str, list[VariantPlan]] = {}
    for plan in timed:
        common = plan.timing_reference_id
        groups.setdefault(common if common is not None and common in ids else plan.reference_id, []).append(plan)
    return {reference: group for reference, group in groups.items() if reference in ids}


def timed_by_variant(measured: Measured) -> dict[str, Outcome]:
    """The outcome of each variant: an engine that failed while its group was timed fails alone."""
    return {variant_id: _of_variant(outcome, task, variant_id) for task, outcome, ids in measured for variant_id in ids}


def _time(prepared: Prepared, executor: LocalExecutor, groups: Groups, measurement_id: str) -> Measured:
    return measure(executor, _tasks(prepared, groups, measurement_id))


def _tasks(prepared: Prepared, groups: Groups, measurement_id: str) -> Tasks:
    corrects = prepared.resolved.verdict.correction == "holm"
    comparisons = sum(map(_n_speedups, groups, groups.values())) if corrects else 1
    return {
        prepared.planner.measure(group, reference, measurement_id, comparisons): tuple(
            plan.variant.id for plan in group
        )
        for reference, group in groups.items()
    }


def _n_speedups(reference: str, group: Sequence[VariantPlan]) -> int:
    own_references = {plan.variant.id: plan.reference_id for plan in group}
    return len(speedups(own_references, reference, own_references))


def _by_target(group: Sequence[VariantPlan]) -> Groups:
    """None for a group of one target: it was timed so already."""
    references = dict.fromkeys(plan.reference_id for plan in group)
    if len(references) == 1:
        return {}
    ids = {plan.variant.id for plan in group}
    return {
        reference: [replace(plan, timing_reference_id=None) for plan in group if plan.reference_id == reference]
        for reference in references
        if reference in ids
    }


def _ids(groups: Groups) -> set[str]:
    return {plan.variant.id for group in groups.values() for plan in group}


def _of_variant(outcome: Outcome, task: Task, variant_id: str) -> Outcome:
    failed = outcome.artifact.result(LatencyResult).failed if isinstance(outcome, Done) else {}
    if variant_id in failed:
        return Failed(reason=failed[variant_id], label=task.label, root=task.key, kind=CRASH)
    return outcome
