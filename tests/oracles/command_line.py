"""The command line in this process, as the shell sees it: exit code, and what stands on stderr."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Iterator
from typing import NamedTuple

from harness.boundary import run_guarded
from harness.cli import app


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def harness(*arguments: object) -> Ended:
    """Run one command to its end."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_guarded(lambda: app([str(each) for each in arguments], standalone_mode=False))
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """TimeoutError in the block when it takes longer; what hangs is a fault, too."""

    def ring(_number: int, _frame: object) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
