"""A process that tries code of the user's, so that whatever it does costs that process and not this one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engine.execute import Job
from harness.engine.isolation import Worker
from harness.engine.outcomes import TIMEOUT, Answer, Event, Failed, TaskNote
from harness.machine.hardware import usable_cores
from harness.runs.timeouts import TIMEOUT_VARIABLE

_SHOWN_OUTPUT_CHARACTERS = 300
_STARTING = "starting"
_START_FIX = "this user may not be able to start Python, or not to import the harness"


@dataclass(frozen=True)
class ProbeFailed:
    """The process ended, or did not end in time."""

    message: str
    fix: str | None
    """None where it depends on what was tried."""


class Prober:
    """Runs one job after another in a process; one that fails there after another is tried again in a fresh one."""

    def __init__(self, timeout_s: float, logs: Path) -> None:
        self._timeout_s = timeout_s
        self._logs = logs
        self._number = itertools.count()
        self._worker: Worker | None = None
        self._step = ""
        self._timed_out = False

    @classmethod
    @contextmanager
    def opened(cls, timeout_s: float) -> Iterator[Prober]:
        """A prober whose process ends with the block; `timeout_s` is that of its jobs, for messages."""
        with tempfile.TemporaryDirectory(prefix="quant-harness-", ignore_cleanup_errors=True) as folder:
            prober = cls(timeout_s, Path(folder))
            try:
                yield prober
            finally:
                prober.close()

    def ask(self, job: Callable[[int], Job], *, is_good: Callable[[Any], bool]) -> Any | ProbeFailed:
        """What the job answers, or how its process ended; `job` is given a number that no other has.

        An answer that `is_good` does not accept is asked for again in a fresh process.
        """
        is_fresh = self._worker is None
        result = self._attempt(job)
        if is_good(result) or is_fresh or self._timed_out:
            return result
        self.close()
        return self._attempt(job)

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _attempt(self, job: Callable[[int], Job]) -> Any | ProbeFailed:
        number = next(self._number)
        if self._worker is None:
            self._worker = Worker(usable_cores(), self._logs / f"{number}.log")
        self._step = _STARTING
        self._worker.submit(job(number))
        reply = self._worker.result(self._hear)
        self._timed_out = isinstance(reply, Failed) and reply.kind == TIMEOUT
        if isinstance(reply, Answer):
            return reply.value
        self.close()
        assert isinstance(reply, Failed)
        return self._failed(reply)

    def _hear(self, event: Event) -> None:
        if isinstance(event, TaskNote):
            self._step = event.text

    def _failed(self, failed: Failed) -> ProbeFailed:
        fix: str | None = None
        if failed.kind == TIMEOUT:
            message = f"{self._step} did not finish within {self._timeout_s:g} s"
            fix = f"if it only needs longer, raise `timeouts.network_s`, or set {TIMEOUT_VARIABLE}"
        elif self._step == _STARTING:
            message, fix = f"the process that tries your code did not start: {failed.reason}", _START_FIX
        else:
            message = f"{self._step}: {failed.reason}"
        return ProbeFailed(message + last_words(failed.output), fix)


def last_words(output: str) -> str:
    """Where Python was when it crashed, or the last line that was printed."""
    lines = [line.strip() for line in output.strip().splitlines()]
    crash = next((index for index, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if crash is not None:
        # Other threads come before the one that crashed.
        mine = next((index for index in range(crash, len(lines)) if lines[index].startswith("Current thread")), crash)
        place = next((line for line in lines[mine:] if line.startswith("File ")), None)
        return f" at {place[:_SHOWN_OUTPUT_CHARACTERS]}" if place else ""
    return f"; last output: {lines[-1][:_SHOWN_OUTPUT_CHARACTERS]}" if lines else ""
