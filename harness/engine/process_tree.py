"""Ending a process together with everything that it started, however deep and however detached."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK_VARIABLE = "HARNESS_WORKER_MARK"
"""Environment variable with a value of its own in every process of ours; whatever that starts inherits it, or has it as
the beginning of its own."""
_PROCESSES = Path("/proc")
_PASSES = 5
"""A process may start another one while it is searched for."""


def end_own_group() -> None:
    """End this process and its process group at once; never a group that it does not lead."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


@contextmanager
def ends_in_copies() -> Iterator[None]:
    """End the copies of this process that code in the block forked and let run on, when they reach the block's end."""
    own = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != own:
            os._exit(0)


def kill_group(pid: int) -> None:
    """Kill the process group that the process leads; nothing happens where it leads none."""
    with suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)


def kill_marked(mark: str) -> None:
    """Kill every process that was started with this mark, daemons that left the process group included.

    Only Linux shows the environment of processes; elsewhere nothing is found.
    """
    for _ in range(_PASSES):
        found = list(_marked(mark))
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _marked(mark: str) -> Iterator[int]:
    entry = f"{MARK_VARIABLE}={mark}".encode()
    for folder in _PROCESSES.glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")  # empty for a process that has ended
        except OSError:  # it is gone, or belongs to another user
            continue
        if any(each.startswith(entry) for each in variables) and int(folder.name) != os.getpid():
            yield int(folder.name)
