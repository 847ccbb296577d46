"""The measuring lock: two measurements at once on one machine would both be wrong."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from harness.errors import UsageError
from harness.paths import expanded

LOCK_VARIABLE = "HARNESS_MEASURING_LOCK"
_FILE_NAME = "quant-harness-measuring.lock"
_POLL_S = 0.2
_EVERYONE = 0o666
_UNKNOWN = "a process that gave no name"


def measuring_lock_path() -> Path:
    """`$HARNESS_MEASURING_LOCK`, else one place for all users of this machine.

    Containers have a temporary folder each; to make several on one host take turns, mount a shared folder and name a
    file in it in the variable.
    """
    if configured := os.environ.get(LOCK_VARIABLE):
        return expanded(configured)
    # Not `gettempdir` first: it follows TMPDIR, which differs between users and jobs of one machine.
    shared = Path("/tmp")  # noqa: S108
    return (shared if os.name == "posix" and shared.is_dir() else Path(tempfile.gettempdir())) / _FILE_NAME


@contextmanager
def measuring(
    on_wait: Callable[[str], None] | None = None, *, what: str = "", path: Path | None = None
) -> Iterator[None]:
    """Hold the machine's measuring lock.

    Args:
        on_wait: called once with who holds it (process id, and their `what`) when it is not free.
        what: shown to others who have to wait.
        path: another lock file than the machine's.

    Raises:
        UsageError: the lock file cannot be used.
    """
    place = path or measuring_lock_path()
    lock = FileLock(place, mode=_EVERYONE)
    _acquire(lock, place, on_wait)
    try:
        _sign(place, f"process {os.getpid()}" + (f" ({what})" if what else ""))
        yield
    finally:
        _sign(place, "")
        lock.release()


def _acquire(lock: BaseFileLock, place: Path, on_wait: Callable[[str], None] | None) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait(_holder(place))
        lock.acquire(timeout=-1, poll_interval=_POLL_S)
    except OSError as error:
        raise UsageError(
            f"cannot use the measuring lock {place}: {error.strerror}",
            fix=f"set {LOCK_VARIABLE} to a file that every user who measures here can write",
        ) from error


def _holder(place: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return place.read_text(encoding="utf-8").strip() or _UNKNOWN
    return _UNKNOWN


def _sign(place: Path, text: str) -> None:
    # The name is a courtesy; the lock itself holds without it. Never through a new file: only the locked one counts.
    with suppress(OSError), place.open("r+", encoding="utf-8") as file:
        file.truncate()
        file.write(text)
