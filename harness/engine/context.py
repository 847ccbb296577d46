"""What a stage function is given to speak with the outside."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.engine.outcomes import Listener, TaskNote, TaskProgress, TaskWaits, TaskWorks, ignore

PROGRESS_INTERVAL_S = 0.1


@dataclass
class StageContext:
    """Progress and notes of one task, and the threads it may use."""

    key: str = ""
    threads: int = 1
    """Computing threads that are this task's share of the machine."""
    listener: Listener = ignore
    clock: Listener = ignore
    """Takes `TaskWaits` and `TaskWorks`: what the time limit needs to know."""
    scratch: Path | None = None
    """Folder for what a killed run of this task should find again; it may not exist yet, and goes with the result."""
    _last_progress: float = field(default=float("-inf"), init=False, repr=False)

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far the stage is, in any unit; cheap enough to call for every batch."""
        now = time.monotonic()
        finished = total is not None and done >= total
        if finished or now - self._last_progress >= PROGRESS_INTERVAL_S:
            self._last_progress = now
            self.listener(TaskProgress(self.key, done, total, text))

    def note(self, text: str) -> None:
        """Say something that the user should read during the run."""
        self.listener(TaskNote(self.key, text))

    def waiting(self, text: str) -> None:
        """Say what the stage waits for; the time limit rests until `working`, or the next progress or note."""
        self.note(text)
        self.elsewhere()

    def elsewhere(self) -> None:
        """The stage waits for a process with a time limit of its own; its own limit rests."""
        self.clock(TaskWaits(self.key))

    def working(self) -> None:
        """Say that the stage goes on."""
        self.clock(TaskWorks(self.key))
