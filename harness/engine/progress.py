"""Shows on stderr how a run proceeds: bars on a terminal, a line for each finished stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from harness.engine.outcomes import (
    ArtifactDamaged,
    Done,
    Event,
    Failed,
    Listener,
    Outcome,
    RunStarted,
    TaskFinished,
    TaskNote,
    TaskProgress,
    TaskStarted,
    ignore,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_INTERVAL_S = 30.0
"""A task without bars says how far it is at most this often."""


@contextmanager
def progress_display(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Listener]:
    """A listener that shows events on `stream` (stderr when None) until the block ends; nothing when `quiet`."""
    target = stream or sys.stderr
    if quiet:
        yield ignore
    elif target.isatty():
        with _bars(target) as bars:
            yield Bars(bars)
    else:
        yield Lines(target)


class Lines:
    """One line for each stage that ends, for logs; seldom one for a stage that takes long."""

    def __init__(self, stream: TextIO, interval_s: float = LINE_INTERVAL_S) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._total = 0
        self._done = 0
        self._labels: dict[str, str] = {}
        self._spoke_at: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case RunStarted(total, cached):
                self._total += total
                self._done += cached
                self._say(f"stages: {total}, of which in the store: {cached}")
            case TaskStarted(key, label):
                self._labels[key] = label
                self._spoke_at[key] = time.monotonic()
            case TaskProgress(key):
                self._say_seldom(key, event)
            case TaskNote(key, text):
                self._say(f"{self._labels.get(key, key[:6])}: {text}")
            case TaskFinished(_, label, outcome):
                self._done += 1
                self._say(f"{label}: {outcome_text(outcome, label)}")
            case ArtifactDamaged(damaged):
                self._say(str(damaged))

    def _say_seldom(self, key: str, event: TaskProgress) -> None:
        now = time.monotonic()
        if now - self._spoke_at.get(key, 0.0) >= self._interval_s:
            self._spoke_at[key] = now
            share = f"{event.done / event.total:.0%}" if event.total else f"{event.done:g}"
            self._say(f"{self._labels.get(key, key[:6])}: {share} {event.text}".rstrip())

    def _say(self, text: str) -> None:
        print(f"[{self._done}/{self._total}] {text}", file=self._stream, flush=True)


class Bars:
    """A bar for the whole run and one for each running task."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._labels: dict[str, str] = {}
        self._tasks: dict[str, TaskID] = {}
        self._run: TaskID | None = None
        self._total = 0
        self._cached = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case RunStarted(total, cached):
                self._extend(total, cached)
            case TaskStarted(key, label):
                self._labels[key] = label
                self._tasks[key] = self._progress.add_task(label, total=None, text="")
            case TaskProgress(key, done, total, text) if key in self._tasks:
                self._progress.update(self._tasks[key], completed=done, total=total, text=text)
            case TaskNote(key, text):
                self._say(f"{self._labels.get(key, key[:6])}: {text}")
            case TaskFinished(key, label, outcome):
                self._finish(key, label, outcome)
            case ArtifactDamaged(damaged):
                self._say(str(damaged))

    def _extend(self, total: int, cached: int) -> None:
        self._total += total
        self._cached += cached
        text = f"{self._cached} in the store" if self._cached else ""
        if self._run is None:
            self._run = self._progress.add_task("stages", total=None, text="")
        self._progress.update(self._run, total=self._total, advance=cached, text=text)

    def _finish(self, key: str, label: str, outcome: Outcome) -> None:
        if key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key))
        if self._run is not None:
            self._progress.advance(self._run)
        if isinstance(outcome, Failed):
            self._say(f"{label}: {outcome_text(outcome, label)}")

    def _say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)


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
def _bars(stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield progress
