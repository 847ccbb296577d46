"""Checksums of the files that a user's network depends on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import StageError


class FileSum(NamedTuple):
    """A file and what was in it."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Dependencies:
    """All that a network depends on, in a form that can be sent to another process."""

    sha256: str
    """Over the contents, the names of the files relative to the project, the installed versions and the first values:
    a project that moves keeps it."""
    files: tuple[FileSum, ...]
    """The user's, without those that making the network writes."""
    writes_what_it_reads: bool = False
    """Whether there are such: what the network is cannot be distinguished from files then."""


def require_unchanged(files: Iterable[FileSum]) -> None:
    """StageError when a file of the user's network is no longer what it was when the run began."""
    for path, sha256 in files:
        try:
            now = file_sha256(path)
        except OSError as error:
            raise StageError(f"{path} changed during the run: {error.strerror}", fix="run again") from error
        if now != sha256:
            raise StageError(f"{path} changed during the run", fix="run again, and edit it when the run is over")


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, which is read once as long as its size and times stay the same."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified_ns: int, changed_ns: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
