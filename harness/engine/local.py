"""Runs a graph of tasks on this machine."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Literal, Protocol

from harness.engine.context import StageContext
from harness.engine.execute import TaskRequest, execute, make_order
from harness.engine.graph import Task, user_code
from harness.engine.isolation import Finished, WorkerPool
from harness.engine.outcomes import (
    ArtifactDamaged,
    Done,
    Listener,
    Outcome,
    PendingTask,
    RunInterrupted,
    RunStarted,
    TasksExpected,
    ignore,
)
from harness.engine.schedule import Plan, TaskSchedule, make_plan
from harness.engine.stage_times import StageTimes
from harness.engine.store import Store
from harness.errors import UsageError
from harness.machine.hardware import stage_threads, usable_cores

Isolation = Literal["process", "none"]


class Backend(Protocol):
    """Where tasks run."""

    capacity: int

    def has_worker_for(self, code: str | None) -> bool:
        """Whether a process waits that has run this network of the user's before."""

    def start(self, order: TaskRequest) -> None:
        """Start a task."""

    def wait(self) -> list[Finished]:
        """Block until something happens; the tasks that finished."""

    def close(self) -> None:
        """End everything that still runs."""


class InThisProcess:
    """Runs each task at once, in this process: for debuggers, and where processes are unwanted."""

    capacity = 1

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._finished: list[Finished] = []

    def has_worker_for(self, code: str | None) -> bool:
        """This process runs them all."""
        return True

    def start(self, order: TaskRequest) -> None:
        """Run a task to its end."""
        outcome = execute(order, StageContext(order.key, order.threads, self._listener))
        self._finished.append(Finished(order.key, outcome))

    def wait(self) -> list[Finished]:
        """The tasks that ran since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Nothing runs on."""


class LocalExecutor:
    """Runs every task whose artifact is missing, once, with up to `jobs` at a time.

    A task that fails takes only those down that depend on it. When the run is interrupted its workers are ended,
    what they had finished stays in the store, and the exception goes on.

    `timeout_s` is the longest that a task may show no progress before it is ended; None for no limit. It is not kept
    with isolation `none`, where nothing could end it.
    """

    def __init__(
        self,
        store: Store,
        *,
        jobs: int = 1,
        isolation: Isolation = "process",
        progress: Listener = ignore,
        timeout_s: float | None = None,
    ) -> None:
        if jobs < 1:
            raise UsageError(f"cannot run {jobs} jobs at once", fix="use 1 or more")
        self._store = replace(store, on_damaged=lambda damaged: progress(ArtifactDamaged(damaged)))
        self._isolation = isolation
        self._progress = progress
        self._counted: set[str] = set()
        self._jobs = jobs if isolation == "process" else 1
        self._timeout_s = timeout_s
        self._times = StageTimes(store.root)

    def expect(self, tasks: Iterable[Task]) -> None:
        """Announce what `run` will be asked for later, so that the time that is left can be estimated."""
        left = [task for task in tasks if self._store.get(task.key) is None]
        self._progress(TasksExpected(tuple(self._pending(task, task.label) for task in left)))

    def run(self, tasks: Iterable[Task], *, refresh: Collection[str] = ()) -> dict[str, Outcome]:
        """Outcome by key: of all `tasks`, and of those inputs that had to be looked at to get them.

        Keys in `refresh` are run although they are in the store, and so is what depends on them.
        """
        self._store.prepare()
        self._store.clean()
        plan = make_plan(tasks, self._store, refresh)
        self._announce(plan)
        schedule = TaskSchedule(plan, self._progress)
        backend = self._backend()
        started: dict[str, float] = {}
        try:
            while schedule.active:
                # A new worker imports torch first: rather go on with a network that has one.
                prefers = lambda task: backend.has_worker_for(user_code(task))  # noqa: E731
                while (task := schedule.next_task(backend.capacity, prefers)) is not None:
                    started[task.key] = time.monotonic()
                    backend.start(self._order(task, schedule.label(task.key), refresh=task.key in plan.stale))
                for key, outcome in backend.wait():
                    self._note_time(schedule.label(key), outcome, time.monotonic() - started[key])
                    schedule.finish(key, outcome)
        except BaseException:  # Ctrl-C, or a request to end
            self._progress(RunInterrupted(self._store.root))
            raise
        finally:
            backend.close()
            self._times.save()
            self._store.clean()
        return schedule.outcomes

    def _announce(self, plan: Plan) -> None:
        cached = plan.cached.keys() - self._counted
        pending = plan.pending.keys()
        self._counted |= cached | pending
        tasks = tuple(self._pending(task, plan.labels[key]) for key, task in plan.pending.items())
        self._progress(RunStarted(total=len(cached) + len(pending), cached=len(cached), pending=tasks, jobs=self._jobs))

    def _pending(self, task: Task, label: str) -> PendingTask:
        inputs = tuple(source.key for source in task.inputs.values())
        return PendingTask(task.key, task.stage.name, task.stage.exclusive, inputs, self._times.seconds(label))

    def _note_time(self, label: str, outcome: Outcome, seconds: float) -> None:
        """With the start of its process, which a stage's own seconds leave out."""
        if isinstance(outcome, Done) and not outcome.cached:
            self._times.record(label, seconds)

    def _order(self, task: Task, label: str, *, refresh: bool) -> TaskRequest:
        alone = task.stage.exclusive and task.stage.isolate
        threads = usable_cores() if alone else stage_threads()
        return make_order(
            task,
            label,
            self._store,
            threads=threads,
            refresh=refresh,
            user_code=user_code(task),
            timeout_s=self._timeout_s,
        )

    def _backend(self) -> Backend:
        if self._isolation == "none":
            return InThisProcess(self._progress)
        return WorkerPool(self._jobs, stage_threads(), self._progress)
