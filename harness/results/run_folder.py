"""The folder of one run: claimed by one process, so that two runs never mix in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UsageError
from harness.paths import LONGEST_FILE_NAME

CLAIM = ".harness-run"
"""File that is locked while a run is under way; it goes when the run ends."""
RECORDS = ("results.json", "sensitivity.json")
_MOST_NAMES = 1_000


@contextmanager
def new_folder(wanted: Path) -> Iterator[Path]:
    """A folder that did not exist, called `wanted` or, where another run was faster, `wanted-2` and so on.

    An empty one goes away again when the block ends.
    """
    for number in range(1, _MOST_NAMES):
        directory = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
        except FileExistsError:
            if not directory.parent.is_dir():
                raise UsageError(f"{directory.parent} is a file", fix="choose another --out") from None
            continue
        except OSError as error:
            raise _cannot_make(directory, error) from None
        with locked_folder(directory):
            yield directory
        return
    raise UsageError(f"there are {_MOST_NAMES:,} folders called {wanted} already", fix="choose another --out")


@contextmanager
def given_folder(directory: Path) -> Iterator[Path]:
    """A folder that the user names; UsageError for one that holds a run, or that another run is writing into."""
    if os.path.lexists(directory) and not os.path.isdir(directory):  # noqa: PTH112 - never raises
        raise UsageError(f"{directory} is a file", fix="give --out a folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(directory, error) from None
    with locked_folder(directory):
        if any(os.path.lexists(directory / record) for record in RECORDS):
            raise UsageError(f"{directory} already holds a run", fix="choose another --out, or remove that folder")
        yield directory


@contextmanager
def locked_folder(directory: Path) -> Iterator[None]:
    """Hold a folder that exists; an empty one is removed in the end. UsageError when another process holds it."""
    descriptor = _claim(directory)
    try:
        yield
    finally:
        with suppress(OSError):
            (directory / CLAIM).unlink()
        with suppress(OSError):
            if not any(directory.iterdir()):
                directory.rmdir()
        os.close(descriptor)


def _claim(directory: Path) -> int:
    """A locked file in the folder. A file that its holder removed meanwhile is of no use: then a new one is made."""
    path = directory / CLAIM
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:  # the folder went away just now
            continue
        except OSError as error:
            raise _cannot_make(directory, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(f"another run is writing into {directory}", fix="choose another --out, or wait") from None
        except OSError:
            pass
        os.close(descriptor)


def _cannot_make(directory: Path, error: OSError) -> UsageError:
    what = "cannot write into" if os.path.isdir(directory) else "cannot make the folder"  # noqa: PTH112
    shown = str(directory) if len(directory.name) <= LONGEST_FILE_NAME else f"{str(directory)[:80]}…"
    return UsageError(f"{what} {shown}: {error.strerror}", fix="choose another --out")
