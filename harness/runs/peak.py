"""What the CPU can multiply and add, beside which the rows that were timed on it are looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done, Outcome
from harness.runs.passes import Measured, Tasks, measure
from harness.runs.plan import VariantPlan
from harness.runs.selection import device_class
from harness.stages.artifacts import PeakResult
from harness.stages.configs import PeakConfig
from harness.targets.base import HOST
from harness.words.phrases import counted

if TYPE_CHECKING:
    from harness.runs.preparation import Prepared


def run_peaks(prepared: Prepared, executor: LocalExecutor, timed: Collection[str]) -> Measured:
    """What the CPU computes with each number of threads with which variants (`timed`, their ids) were timed on it."""
    return measure(executor, peak_tasks(prepared, timed))


def peak_tasks(prepared: Prepared, timed: Collection[str]) -> Tasks:
    """One task for each number of threads."""
    by_threads: dict[int, list[str]] = {}
    for plan in prepared.plans:
        if plan.variant.id in timed and device_class(plan.variant) == HOST:
            threads = prepared.resolved.targets[plan.variant.target].threads
            by_threads.setdefault(threads, []).append(plan.variant.id)
    return {prepared.planner.peak(threads): tuple(ids) for threads, ids in by_threads.items()}


def peaks_of(outcome: Outcome | None) -> Mapping[str, float]:
    """Multiply-accumulates per second by precision; empty where none were measured."""
    return outcome.artifact.result(PeakResult).macs_per_s if isinstance(outcome, Done) else {}


def recorded_peaks(measured: Measured, plans: Sequence[VariantPlan], timed: Collection[str]) -> dict[str, Any]:
    """The entry of the run's environment: peaks by number of threads, or why there are none; none without timing."""
    found: dict[str, Any] = {
        counted(task.config.threads, "thread"): _recorded(outcome)
        for task, outcome, _ in measured
        if isinstance(task.config, PeakConfig)
    }
    elsewhere = {plan.variant.place for plan in plans if plan.variant.id in timed} - {
        plan.variant.place for plan in plans if device_class(plan.variant) == HOST
    }
    found |= dict.fromkeys(sorted(elsewhere), "not measured: only the CPU's is")
    return {"peak_gmacs_per_s": found} if found else {}


def _recorded(outcome: Outcome) -> dict[str, float | str] | str:
    if not isinstance(outcome, Done):
        return f"not measured: {outcome.reason}"
    result = outcome.artifact.result(PeakResult)
    return {name: round(rate / 1e9, 1) for name, rate in result.macs_per_s.items()} | result.missing
