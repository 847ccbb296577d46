"""What measures after the builds: passes one after the other, each with tasks of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Outcome
from harness.runs.plan import VariantPlan

if TYPE_CHECKING:
    from harness.runs.preparation import Prepared

Outcomes = Mapping[str, Outcome]
Measured = Sequence[tuple[Task, Outcome, tuple[str, ...]]]
"""Tasks with their outcomes and the ids of the variants that each is of."""
Pass = Callable[["Prepared", LocalExecutor, Outcomes, str], Measured]
"""From the outcomes of the builds, and what is in the key of whatever is measured anew in each run."""
Tasks = Mapping[Task, tuple[str, ...]]
"""Tasks, each with the ids of its variants."""
TasksOf = Callable[["Prepared", Outcomes | None, str], Tasks]
"""The tasks of a pass; without outcomes those that are to be expected."""


def measure(executor: LocalExecutor, tasks: Tasks) -> Measured:
    """Run the tasks, each with the ids of its variants."""
    finished = executor.run(list(tasks)) if tasks else {}
    return [(task, finished[task.key], ids) for task, ids in tasks.items()]


def tasks_each(
    plans: Sequence[VariantPlan], outcomes: Outcomes | None, task_of: Callable[[VariantPlan], Task | None]
) -> Tasks:
    """One task for each variant whose engine was built and runs here, where `task_of` has one."""
    return {
        task: (plan.variant.id,) for plan in plans if plan.engine_runs(outcomes) and (task := task_of(plan)) is not None
    }


def run_tasks_of(tasks_of: TasksOf) -> Pass:
    """The pass that runs these tasks and no others."""
    return lambda prepared, executor, outcomes, measurement_id: measure(
        executor, tasks_of(prepared, outcomes, measurement_id)
    )


def by_variant(measured: Measured) -> dict[str, Outcome]:
    """The outcome of the task of each variant."""
    return {variant_id: outcome for _, outcome, ids in measured for variant_id in ids}
