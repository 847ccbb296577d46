"""Folders and locks of the artifact store.

v1/artifacts/<first two digits>/<key>/   the artifacts
v1/locks/<key>.lock                      held by whoever makes or removes that artifact
v1/tmp/<key>.<random>/                   artifacts in the making; removable when the key's lock is free
v1/scratch/<key>/                        what a stage that was killed goes on from; removed when its artifact is there
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import UsageError

STORE_VARIABLE = "HARNESS_STORE"
_VERSION = "v1"
_KEY = re.compile(r"[0-9a-f]{64}")
_LOCK_POLL_S = 0.2


@dataclass(frozen=True)
class Layout:
    """Where the parts of a store lie below `root`."""

    root: Path

    def prepare(self) -> None:
        """Make the folders; UsageError when that is impossible."""
        try:
            for folder in (self._artifacts, self._locks, self._tmp):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write to the artifact store {self.root}: {error.strerror}",
                fix=f"set {STORE_VARIABLE} to a folder you can write to",
            ) from error

    def folder(self, key: str) -> Path:
        """Where the artifact of `key` lies or will lie; ValueError for anything but a sha256."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a sha256 key: {key!r}")
        return self._artifacts / key[:2] / key

    def artifacts(self) -> list[Path]:
        """The folders of all artifacts."""
        return [folder for group in _entries(self._artifacts) for folder in _entries(group)]

    def temporary(self, key: str) -> Path:
        """A new empty folder in the file system of the artifacts; call it with the key's lock held."""
        self.prepare()
        return Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self._tmp))

    def scratch(self, key: str) -> Path:
        """Where a stage keeps what survives a kill; not made here."""
        return self._scratch / key

    def scratches(self) -> list[Path]:
        """The scratch folders of all keys."""
        return _entries(self._scratch)

    def leftovers(self, key: str) -> list[Path]:
        """Temporary folders of `key`; with the key's lock held, those of killed processes."""
        return list(self._tmp.glob(f"{key}.*"))

    def discard(self, folder: Path) -> None:
        """Remove an artifact's folder; call it with the key's lock held."""
        # Renamed first: a half-deleted folder must never be found under its key.
        aside = self.temporary(folder.name) / "removed"
        with suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside.parent, ignore_errors=True)

    def clean(self) -> int:
        """Remove the temporary folders whose key is not locked; return their number."""
        removed = 0
        for folder in _entries(self._tmp):
            with self.try_lock(folder.name.partition(".")[0]) as locked:
                if locked:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        return removed

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of `key`; `on_wait` is called once when another process holds it."""
        self.prepare()
        lock = FileLock(self._lock_path(key))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire(timeout=-1, poll_interval=_LOCK_POLL_S)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def try_lock(self, key: str) -> Iterator[bool]:
        """Hold the lock of `key` if it is free; whether it was."""
        lock = FileLock(self._lock_path(key))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def remove_lock(self, key: str) -> None:
        """Remove the lock file of an artifact that is gone."""
        self._lock_path(key).unlink(missing_ok=True)

    @property
    def _artifacts(self) -> Path:
        return self.root / _VERSION / "artifacts"

    @property
    def _locks(self) -> Path:
        return self.root / _VERSION / "locks"

    @property
    def _scratch(self) -> Path:
        return self.root / _VERSION / "scratch"

    @property
    def _tmp(self) -> Path:
        return self.root / _VERSION / "tmp"

    def _lock_path(self, key: str) -> Path:
        return self._locks / f"{key}.lock"


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
