"""The measuring lock: two measurements at once on one machine would both be wrong."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UsageError
from harness.paths import expanded

LOCK_VARIABLE = "HARNESS_MEASURING_LOCK"
_FILE_NAME = "quant-harness-measuring.lock"
_POLL_S = 0.2
_EVERYONE = 0o666
_LONGEST_NAME = 500
"""Bytes."""
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
    """Hold the machine's measuring lock, whoever made its file: users of one machine take turns.

    Args:
        on_wait: called once with who holds it (process id, and their `what`) when it is not free.
        what: shown to others who have to wait.
        path: another lock file than the machine's.

    Raises:
        UsageError: the lock file cannot be used.
    """
    place = path or measuring_lock_path()
    descriptor = _opened(place)
    try:
        _acquire(descriptor, place, on_wait)
        _sign(descriptor, f"process {os.getpid()}" + (f" ({what})" if what else ""))
        yield
    finally:
        _sign(descriptor, "")
        os.close(descriptor)  # and with it the lock


def _opened(place: Path) -> int:
    """The lock file, made if there is none. To lock a file of another user, reading it is enough."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = _existing(place, flags)
        if descriptor is None:
            descriptor = os.open(place, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, _EVERYONE)
            os.fchmod(descriptor, _EVERYONE)  # whatever the umask
    except FileExistsError:  # another process was faster
        return _opened(place)
    except OSError as error:
        raise _unusable(place, error.strerror) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unusable(place, "it is not a regular file")
    return descriptor


def _existing(place: Path, flags: int) -> int | None:
    """Without O_CREAT: the kernel refuses to "create" what another user has in a folder for all (protected_regular)."""
    try:
        return os.open(place, flags | os.O_RDWR)
    except FileNotFoundError:
        return None
    except PermissionError:
        return os.open(place, flags | os.O_RDONLY)


def _acquire(descriptor: int, place: Path, on_wait: Callable[[str], None] | None) -> None:
    is_told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if on_wait is not None and not is_told:
                on_wait(_holder(descriptor))
            is_told = True
            time.sleep(_POLL_S)
        except OSError as error:  # a file system without locks
            raise _unusable(place, error.strerror) from error


def _unusable(place: Path, why: str | None) -> UsageError:
    return UsageError(
        f"cannot use the measuring lock {place}: {why}",
        fix=f"set {LOCK_VARIABLE} to a file that every user who measures here can write",
    )


def _holder(descriptor: int) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return os.pread(descriptor, _LONGEST_NAME, 0).decode("utf-8").strip() or _UNKNOWN
    return _UNKNOWN


def _sign(descriptor: int, text: str) -> None:
    # The name is a courtesy; the lock itself holds without it, and a file of another user may be read-only.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode("utf-8", errors="replace")[:_LONGEST_NAME], 0)
