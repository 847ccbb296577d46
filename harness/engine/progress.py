"""Shows on stderr how a run proceeds: one line that changes on a terminal, a line for each finished stage elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from harness.engine.outcomes import (
    ArtifactDamaged,
    Done,
    Event,
    Failed,
    Listener,
    Outcome,
    RunInterrupted,
    RunStarted,
    TaskFinished,
    TaskNote,
    TaskProgress,
    TasksExpected,
    TaskStarted,
    ignore,
)
from harness.engine.remaining import Remaining, about, duration
from harness.text import visible

if TYPE_CHECKING:
    from rich.console import Console

_REFRESHES_PER_S = 4
_LEAST_LABEL = 30
"""Columns that a label needs before anything stands beside it that can be spared."""
_SEPARATOR = " · "


@contextmanager
def progress_display(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Listener]:
    """A listener that shows events on `stream` (stderr when None) until the block ends; nothing when `quiet`."""
    target = stream or sys.stderr
    if quiet:
        yield ignore
        return
    if target.isatty():
        from rich.console import Console

        console = Console(file=target, markup=False, highlight=False, emoji=False)
        if not console.is_dumb_terminal:  # such a terminal cannot change a line that it shows
            with _changing_line(console) as line:
                yield line
            return
    yield Lines(target)


class Counts:
    """How many stages there are and how many are done."""

    def __init__(self) -> None:
        self.done = 0
        self._announced = 0
        self._later: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case TasksExpected(tasks):
                self._later = {task.key for task in tasks}
            case RunStarted(total, cached, pending):
                self._announced += total
                self._later -= {task.key for task in pending}
                self.done += cached
            case TaskFinished():
                self.done += 1

    @property
    def total(self) -> int:
        """All stages, those too that are expected only."""
        return self._announced + len(self._later)

    def kept(self, event: RunInterrupted) -> str:
        """What remains of a run that ends early."""
        return f"{self.done} of {self.total} stages are done and kept in {event.store}"


class Lines:
    """One line for each stage that ends, and for what stages say, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._counts = Counts()
        self._labels: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._counts(event)
        match event:
            case TaskStarted(key, label):
                self._labels[key] = label
            case TaskNote(key, text):
                self._say(f"{self._labels.get(key, key[:6])}: {text}")
            case TaskFinished(_, label, outcome):
                self._say(f"{label}: {outcome_text(outcome, label)}")
            case ArtifactDamaged(damaged):
                self._say(str(damaged))
            case RunInterrupted():
                self._say(self._counts.kept(event))

    def _say(self, text: str) -> None:
        line = f"[{self._counts.done}/{self._counts.total}] {visible(text)}"
        print(line, file=self._stream, flush=True)


class Line:
    """What runs, for how long the run has been going on, and how long it still takes where that is known."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._started = clock()
        self._counts = Counts()
        self._remaining = Remaining(clock)
        self._labels: dict[str, str] = {}
        self._running: dict[str, str] = {}
        """How far each task is, oldest first; empty where it does not say so."""
        self._lock = threading.Lock()  # another thread draws

    def __call__(self, event: Event) -> None:
        """Take one event; say what is to stay on the screen."""
        with self._lock:
            self._counts(event)
            self._remaining(event)
            match event:
                case TaskStarted(key, label):
                    self._labels[key] = label
                    self._running[key] = ""
                case TaskProgress(key, done, total) if key in self._running and total:
                    self._running[key] = f"{done / total:.0%}"
                case TaskFinished(key):
                    self._running.pop(key, None)
        told = self._told(event)
        if told is not None:
            self._say(visible(told))

    def text(self, width: int) -> str:
        """The line, in at most `width` columns."""
        with self._lock:
            running = [(self._labels[key], share) for key, share in self._running.items()]
            left = self._remaining.seconds()
            counts = f"[{self._counts.done}/{self._counts.total}]"
        elapsed = duration(self._clock() - self._started)
        idle = "collecting results" if self._labels else "preparing"
        label, share = running[0] if running else (idle, "")
        others = f"+{len(running) - 1}" if len(running) > 1 else ""
        end = elapsed if left is None else f"{elapsed}, {about(left)}"
        details = " ".join(filter(None, [share, others]))
        # What a narrow terminal has no room for: how far the stage is, then the end of its name.
        for extra in (f"{details}{_SEPARATOR}" if details else "", ""):
            room = width - len(f"{counts} {_SEPARATOR}{extra}{end}")
            if room >= _LEAST_LABEL:
                break
        return f"{counts} {shortened_to(visible(label), max(room, 1))}{_SEPARATOR}{extra}{end}"

    def _told(self, event: Event) -> str | None:
        match event:
            case TaskNote(key, text):
                return f"{self._labels.get(key, key[:6])}: {text}"
            case TaskFinished(_, label, Failed() as outcome):
                return f"{label}: {outcome_text(outcome, label)}"
            case ArtifactDamaged(damaged):
                return str(damaged)
            case RunInterrupted():
                return self._counts.kept(event)
        return None


def shortened_to(text: str, columns: int) -> str:
    """A text in at most so many columns of a terminal, its end left out where it is longer."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1).rstrip()}…"


def outcome_text(outcome: Outcome, label: str) -> str:
    """How a task ended, in a few words; of a failure's reason the first line, and all of it only once."""
    match outcome:
        case Done(cached=True):
            return "made by another run"
        case Done():
            return f"done in {outcome.seconds:.1f} s"
        case Failed(reason, root_label) if root_label == label:
            return f"failed: {reason}"
        case Failed(_, root_label):
            return f"not run, because `{root_label}` failed"


@contextmanager
def _changing_line(console: Console) -> Iterator[Line]:
    from rich.live import Live
    from rich.text import Text

    line = Line(lambda text: console.print(text, soft_wrap=True))

    def draw() -> Text:
        return Text(line.text(console.width - 1), no_wrap=True, overflow="crop")

    with Live(get_renderable=draw, console=console, transient=True, refresh_per_second=_REFRESHES_PER_S):
        yield line
