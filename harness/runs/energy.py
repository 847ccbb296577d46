"""Energy of the variants of a run: measured when everything else is done, absent with the reason where it cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done, Failed, Outcome
from harness.machine.energy import Device, why_not
from harness.results import Energy
from harness.runs.plan import Planner, VariantPlan
from harness.targets import get_target

Measured = Sequence[tuple[Task, Outcome, tuple[str, ...]]]


def run_energy(
    plans: Sequence[VariantPlan],
    planner: Planner,
    executor: LocalExecutor,
    outcomes: Mapping[str, Outcome],
    measurement_id: str,
) -> Measured:
    """One task for each variant whose engine was built, can run here, and whose device counts its energy."""
    reason_by_device = cache(why_not)
    tasks = {
        planner.energy(plan, measurement_id): (plan.variant.id,)
        for plan in plans
        if plan.engine_runs(outcomes) and reason_by_device(_device(plan)) is None
    }
    finished = executor.run(list(tasks))
    return [(task, finished[task.key], ids) for task, ids in tasks.items()]


def energy_of(plan: VariantPlan, outcome: Outcome | None) -> Energy | None:
    """The figures of one variant, or why there are none; None for variants that were not run at all."""
    if isinstance(outcome, Done):
        return outcome.artifact.result(Energy)
    if isinstance(outcome, Failed):
        return Energy(reason=outcome.reason)
    if not plan.is_measured:
        return None
    reason = why_not(_device(plan))
    return Energy(reason=reason) if reason is not None else None


def _device(plan: VariantPlan) -> Device:
    return "gpu" if get_target(plan.variant.target).needs_gpu else "cpu"
