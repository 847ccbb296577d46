"""What is left to do, and what can be done next. Executors differ only in where a task then runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

from harness.engine.graph import Task, topological, unique_labels
from harness.engine.outcomes import Done, Failed, Listener, Outcome, TaskFinished, TaskStarted
from harness.engine.store import Store


@dataclass(frozen=True)
class Plan:
    """Which tasks are done already and which must run."""

    cached: dict[str, Done]
    pending: dict[str, Task]
    """In an order in which they can run."""
    labels: dict[str, str]
    stale: frozenset[str]
    """Keys that must run although their artifact may exist."""


def make_plan(tasks: Iterable[Task], store: Store, refresh: Collection[str] = ()) -> Plan:
    """Look up what is in the store.

    An input that only finished tasks need is not looked up, so a result outlives the ones it was made from.
    Keys in `refresh` run although they are in the store, and so does everything that depends on them.
    """
    requested = list(tasks)
    ordered = topological(requested)
    stale = _with_dependents(ordered, refresh)
    needed = {task.key for task in requested}
    cached: dict[str, Done] = {}
    pending: list[Task] = []
    for task in reversed(ordered):
        if task.key not in needed:
            continue
        artifact = None if task.key in stale else store.get(task.key)
        if artifact is not None:
            cached[task.key] = Done(artifact, cached=True)
        else:
            pending.append(task)
            needed.update(source.key for source in task.inputs.values())
    return Plan(cached, {task.key: task for task in reversed(pending)}, unique_labels(ordered), stale)


def _with_dependents(ordered: Iterable[Task], keys: Collection[str]) -> frozenset[str]:
    found: set[str] = set()
    for task in ordered:
        if task.key in keys or any(source.key in found for source in task.inputs.values()):
            found.add(task.key)
    return frozenset(found)


class TaskSchedule:
    """Hands out pending tasks whose inputs exist, and takes their outcomes."""

    def __init__(self, plan: Plan, listener: Listener) -> None:
        self.outcomes: dict[str, Outcome] = dict(plan.cached)
        self._plan = plan
        self._listener = listener
        self._ready: list[Task] = []
        self._running: dict[str, Task] = {}
        self._sorter: TopologicalSorter[str] = TopologicalSorter(
            {
                key: [source.key for source in task.inputs.values() if source.key in plan.pending]
                for key, task in plan.pending.items()
            }
        )
        self._sorter.prepare()
        self._collect()

    @property
    def active(self) -> bool:
        """Whether any task is running or waits."""
        return self._sorter.is_active()

    def label(self, key: str) -> str:
        """What to call a task."""
        return self._plan.labels[key]

    def next_task(self, capacity: int, prefers: Callable[[Task], bool] | None = None) -> Task | None:
        """A task to start now, or None while something must finish first.

        At most `capacity` run at once. An exclusive task runs alone, after everything that can run before it. Of
        several, the first that the backend `prefers` is taken.
        """
        if len(self._running) >= capacity or any(task.stage.exclusive for task in self._running.values()):
            return None
        able = [task for task in self._ready if not task.stage.exclusive]
        task = next((each for each in able if prefers is None or prefers(each)), able[0] if able else None)
        if task is None and not self._running and self._ready:
            task = self._ready[0]
        if task is not None:
            self._ready.remove(task)
            self._running[task.key] = task
            self._listener(TaskStarted(task.key, self.label(task.key)))
        return task

    def finish(self, key: str, outcome: Outcome) -> None:
        """Take the outcome of a task that `next_task` gave."""
        del self._running[key]
        self._finish(key, outcome)
        self._collect()

    def _collect(self) -> None:
        """Move what has become possible to `_ready`; what depends on a failure fails with its reason."""
        while fresh := self._sorter.get_ready():
            for key in fresh:
                task = self._plan.pending[key]
                if (failure := self._failed_input(task)) is not None:
                    self._finish(key, failure)
                else:
                    self._ready.append(task)

    def _failed_input(self, task: Task) -> Failed | None:
        outcomes = (self.outcomes[source.key] for source in task.inputs.values())
        return next((outcome for outcome in outcomes if isinstance(outcome, Failed)), None)

    def _finish(self, key: str, outcome: Outcome) -> None:
        self.outcomes[key] = outcome
        self._sorter.done(key)
        self._listener(TaskFinished(key, self.label(key), outcome))
