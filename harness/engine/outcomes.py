"""How a task ended, and what executors tell about it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from harness.engine.manifest import Damaged
from harness.engine.store import Artifact

CRASH = "crash"
TIMEOUT = "timeout"


@dataclass(frozen=True)
class Done:
    """The task's artifact exists."""

    artifact: Artifact
    cached: bool
    """It was there already, or another process made it."""

    @property
    def seconds(self) -> float:
        """What making it took, whenever that was."""
        return self.artifact.manifest.seconds


@dataclass(frozen=True)
class Failed:
    """The task, or one that it depends on, could not be done."""

    reason: str
    """For the user: message and fix of a harness error, else type and message, else how the process died."""
    label: str
    """Label of the task that failed first."""
    root: str
    """Key of the task that failed first; a task that only depends on it carries the same."""
    kind: str
    """Name of the exception's class, or `crash`, or `timeout`."""
    details: str = ""
    """Traceback, where the error was not one of the harness's own."""
    output: str = ""
    """The end of what the task printed."""


Outcome: TypeAlias = Done | Failed


@dataclass(frozen=True)
class Answer:
    """What a job returned that leaves nothing in the store."""

    value: Any


Reply: TypeAlias = Done | Failed | Answer
"""How a job in a worker ends."""


@dataclass(frozen=True)
class PendingTask:
    """A task that is to run."""

    key: str
    stage: str
    is_exclusive: bool
    """Runs alone."""
    inputs: tuple[str, ...]
    """Keys of what must be done before."""
    expected_s: float | None
    """What it took when it last ran on this machine; None where it never did."""


@dataclass(frozen=True)
class RunStarted:
    """The plan is made. A second run of one executor counts only what the first did not."""

    total: int
    cached: int
    pending: tuple[PendingTask, ...] = ()
    """In an order in which they can run."""
    jobs: int = 1
    """Tasks at once."""


@dataclass(frozen=True)
class TasksExpected:
    """What later runs of this executor will be asked for, if all goes well: with it, all that is left is known."""

    tasks: tuple[PendingTask, ...]


@dataclass(frozen=True)
class RunInterrupted:
    """The run ends before its tasks do."""

    store: Path
    """Where what they had finished is kept."""


@dataclass(frozen=True)
class TaskStarted:
    """A task begins."""

    key: str
    label: str


@dataclass(frozen=True)
class TaskProgress:
    """A task says how far it is, in its own unit."""

    key: str
    done: float
    total: float | None
    text: str


@dataclass(frozen=True)
class TaskNote:
    """A task says something worth showing."""

    key: str
    text: str


@dataclass(frozen=True)
class TaskWaits:
    """A task waits for another process; the time until its next event does not count as a lack of progress."""

    key: str


@dataclass(frozen=True)
class TaskWorks:
    """A task begins, or goes on after it waited."""

    key: str


@dataclass(frozen=True)
class TaskFinished:
    """A task ended, or will never start because one that it depends on failed."""

    key: str
    label: str
    outcome: Outcome


@dataclass(frozen=True)
class ArtifactDamaged:
    """A damaged artifact was removed and will be made again."""

    damaged: Damaged


Event: TypeAlias = (
    RunStarted
    | TasksExpected
    | RunInterrupted
    | TaskStarted
    | TaskProgress
    | TaskNote
    | TaskWaits
    | TaskWorks
    | TaskFinished
    | ArtifactDamaged
)
Listener: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A listener that does nothing."""
