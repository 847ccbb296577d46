"""How long a run still takes, from what its tasks took before on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from harness.engine.outcomes import (
    Done,
    Event,
    PendingTask,
    RunStarted,
    TaskFinished,
    TaskProgress,
    TasksExpected,
    TaskStarted,
)

_LEAST_SHARE = 0.1
"""A task that is less than so far says nothing about its end."""

_OVERDUE, _OVERDUE_S = 1.5, 5.0
"""A task that has run so much longer than expected (factor, and seconds) shows that it cannot be estimated."""


class Remaining:
    """Follows the events of a run.

    A task is taken to last as long as it did when it last ran on this machine; one that is new, as long as tasks of the
    same kind that ended in this run. While nothing is known about one of them there is no estimate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: dict[str, PendingTask] = {}
        self._later: tuple[PendingTask, ...] = ()
        self._is_all_known = False
        self._jobs = 1
        self._started_at: dict[str, float] = {}
        self._shares: dict[str, float] = {}
        self._taken: dict[str, list[float]] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case TasksExpected(tasks):
                self._later, self._is_all_known = tasks, True
            case RunStarted(pending=pending, jobs=jobs):
                self._jobs = jobs
                self._pending |= {task.key: task for task in pending}
                announced = {task.key for task in pending}
                self._later = tuple(task for task in self._later if task.key not in announced)
            case TaskStarted(key):
                self._started_at[key] = self._clock()
            case TaskProgress(key, done, total) if total:
                self._shares[key] = done / total
            case TaskFinished(key, _, outcome):
                task, started = self._pending.pop(key, None), self._started_at.get(key)
                if task is not None and started is not None and isinstance(outcome, Done) and not outcome.cached:
                    self._taken.setdefault(task.stage, []).append(self._clock() - started)

    def seconds(self) -> float | None:
        """Seconds until the run ends; None while that is not known."""
        if not self._is_all_known:
            return None
        left = {task.key: self._left(task) for task in (*self._pending.values(), *self._later)}
        found = {key: seconds for key, seconds in left.items() if seconds is not None}
        return self._together(found) if len(found) == len(left) else None

    def _together(self, left: dict[str, float]) -> float:
        """Exclusive tasks one after the other; the others side by side, no chain of them shortened by that."""
        tasks = (*self._pending.values(), *self._later)
        alone = sum(left[task.key] for task in tasks if task.is_exclusive)
        shared = [task for task in tasks if not task.is_exclusive]
        chains: dict[str, float] = {}
        for task in shared:  # inputs come before what needs them
            chains[task.key] = left[task.key] + max((chains.get(key, 0.0) for key in task.inputs), default=0.0)
        return alone + max(sum(left[task.key] for task in shared) / self._jobs, max(chains.values(), default=0.0))

    def _left(self, task: PendingTask) -> float | None:
        elapsed = self._clock() - self._started_at[task.key] if task.key in self._started_at else 0.0
        expected = task.expected_s
        if expected is None and task.stage in self._taken:
            expected = median(self._taken[task.stage])
        share = self._shares.get(task.key, 0.0)
        if expected is None and share >= _LEAST_SHARE:
            expected = elapsed / share
        if expected is None or elapsed > _OVERDUE * expected + _OVERDUE_S:
            return None
        return max(expected - elapsed, 0.0)


def duration(seconds: float) -> str:
    """A duration for readers: `34 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: float) -> str:
    """An estimate, as coarse as it deserves: `about 40 s left`."""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 60:
        return f"about {max(10, round(seconds / 10) * 10)} s left"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min left"
    hours, minutes = divmod(round(seconds / 600) * 10, 60)
    return f"about {hours} h {minutes} min left" if minutes else f"about {hours} h left"
