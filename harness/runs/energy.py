"""Energy of the variants of a run: measured when everything else is done, absent with the reason where it cannot be."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from harness.engine.graph import Task
from harness.engine.outcomes import Done, Failed, Outcome
from harness.machine.energy import Device, why_not
from harness.results import Energy
from harness.runs.passes import Outcomes, Tasks, tasks_each
from harness.runs.plan import VariantPlan
from harness.targets import get_target

if TYPE_CHECKING:
    from harness.runs.preparation import Prepared


def energy_tasks(prepared: Prepared, outcomes: Outcomes | None, measurement_id: str) -> Tasks:
    """Of each variant whose device counts its energy; none when the scenario does not ask for it."""
    if not prepared.resolved.measurement.energy:
        return {}
    reason_by_device = cache(why_not)

    def task_of(plan: VariantPlan) -> Task | None:
        is_counted = reason_by_device(_device(plan)) is None
        return prepared.planner.energy(plan, measurement_id) if is_counted else None

    return tasks_each(prepared.plans, outcomes, task_of)


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
