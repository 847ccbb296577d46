"""Content-addressed store of stage results: each artifact is a folder of files with a manifest of checksums.

An artifact is written aside and renamed in, so that a reader sees all of it or nothing.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, JsonValue

from harness import version
from harness.engine.layout import STORE_VARIABLE, Layout
from harness.engine.manifest import (
    MANIFEST_NAME,
    Damaged,
    Manifest,
    checked_meta,
    checksums,
    read_manifest,
    verify_files,
)
from harness.errors import StageError, UsageError
from harness.paths import expanded, user_folder

RecordT = TypeVar("RecordT", bound=BaseModel)
PEAK = "peak_rss_bytes"
"""Entry of the `meta` of what a stage made: peak memory of the process while it ran."""


@dataclass(frozen=True)
class Artifact:
    """One finished result in the store. Its folder must not be written to."""

    key: str
    path: Path
    manifest: Manifest

    @property
    def meta(self) -> dict[str, JsonValue]:
        """The small results that the stage returned, as JSON; stages and readers share a type for them: `result`."""
        return self.manifest.meta

    def result(self, kind: type[RecordT]) -> RecordT:
        """The small results that the stage returned."""
        return kind.model_validate({name: value for name, value in self.meta.items() if name != PEAK})

    @property
    def peak_bytes(self) -> int | None:
        """Peak memory of the process while the stage ran; None where a stage did not make it."""
        peak = self.meta.get(PEAK)
        return peak if isinstance(peak, int) else None

    def file(self, name: str) -> Path:
        """Path of one of its files; KeyError when it has no such file."""
        if name not in self.manifest.files:
            raise KeyError(f"artifact of stage `{self.manifest.stage}` has no file {name!r}")
        return self.path / name


@dataclass
class Draft:
    """An artifact in the making: fill `path` with files and `meta` with small results."""

    path: Path
    meta: dict[str, JsonValue] = field(default_factory=dict)
    artifact: Artifact | None = None
    """Set when the `create` block has ended."""


class Obtained(NamedTuple):
    """What `Store.get_or_create` returns."""

    artifact: Artifact
    created: bool
    """False when it was found, or made by another process meanwhile."""


class StoreSize(NamedTuple):
    """How much a store holds."""

    artifacts: int
    bytes: int


def default_root() -> Path:
    """`$HARNESS_STORE`, else a folder in the user's cache directory; UsageError for a user without a home."""
    configured = os.environ.get(STORE_VARIABLE)
    if configured:
        return expanded(configured)
    cache = user_folder("cache")
    if cache is None:
        fix = f"set {STORE_VARIABLE} to a folder that you can write to"
        raise UsageError("this user has no home directory, and so no place for the artifact store", fix=fix)
    return cache / "store"


def _warn(damaged: Damaged) -> None:
    warnings.warn(str(damaged), stacklevel=2)


@dataclass(frozen=True)
class Store:
    """The artifacts below `root`; safe to use from several processes at once."""

    root: Path = field(default_factory=default_root)
    on_damaged: Callable[[Damaged], None] = _warn

    def prepare(self) -> None:
        """Make the folders; UsageError when that is impossible."""
        self._layout.prepare()

    def get(self, key: str) -> Artifact | None:
        """The artifact of `key` with all checksums verified, or None.

        A damaged one is removed and reported through `on_damaged`; then None too.
        """
        found = self._inspect(key)
        if isinstance(found, Damaged):
            with self._layout.lock(key):
                return self._get_locked(key)
        return _touch(found)

    def open(self, key: str) -> Artifact:
        """The artifact of `key` without verifying its files again; StageError when it is gone."""
        folder = self._layout.folder(key)
        manifest = read_manifest(folder, key)
        if isinstance(manifest, Damaged):
            raise StageError(
                f"input artifact {key[:12]} is not in the store {self.root}: {manifest.problem}",
                fix="run again; whatever is missing is made anew",
            )
        return Artifact(key, folder, manifest)

    @contextmanager
    def create(self, key: str, stage: str, *, replace: bool = False) -> Iterator[Draft]:
        """Make an artifact: on leaving the block its files are checksummed and renamed in.

        When the block raises, nothing remains. When the artifact exists already, that one is kept,
        unless `replace`.
        """
        with self._layout.lock(key), self._drafting(key, stage, replace=replace) as draft:
            yield draft

    def get_or_create(
        self,
        key: str,
        stage: str,
        make: Callable[[Path], Mapping[str, JsonValue]],
        *,
        replace: bool = False,
        on_wait: Callable[[], None] | None = None,
    ) -> Obtained:
        """The artifact of `key`, made by `make(folder) -> meta` when there is none (or anew, with `replace`).

        While another process makes it, this one calls `on_wait`, waits, and then uses that one.
        """
        if not replace and (found := self.get(key)) is not None:
            return Obtained(found, created=False)
        with self._layout.lock(key, on_wait):
            if not replace and (found := self._get_locked(key)) is not None:
                return Obtained(found, created=False)
            with self._drafting(key, stage, replace=replace) as draft:
                draft.meta.update(make(draft.path))
            assert draft.artifact is not None
            return Obtained(draft.artifact, created=True)

    def scratch(self, key: str) -> Path:
        """Folder in which a stage may keep what a killed run goes on from; it goes when the artifact is there."""
        return self._layout.scratch(key)

    def clean(self) -> int:
        """Remove what killed processes left behind, and nothing that is in use; how many folders went."""
        return self._layout.clean()

    def size(self) -> StoreSize:
        """Number of artifacts and bytes of all their files."""
        artifacts = self._layout.artifacts()
        return StoreSize(len(artifacts), sum(map(_folder_bytes, artifacts)))

    def prune(self, older_than: timedelta) -> StoreSize:
        """Remove artifacts that were last used longer ago than `older_than`; what was removed.

        What killed runs could go on from goes too when it is that old.
        """
        limit = time.time() - older_than.total_seconds()
        count, freed = 0, 0
        for folder in self._layout.artifacts():
            with self._layout.try_lock(folder.name) as locked:
                if locked and folder.exists() and _last_used(folder) < limit:
                    freed += _folder_bytes(folder)
                    count += 1
                    self._layout.discard(folder)
                    self._layout.remove_lock(folder.name)
        for folder in self._layout.scratches():
            with self._layout.try_lock(folder.name) as locked:
                if locked and folder.exists() and folder.stat().st_mtime < limit:
                    shutil.rmtree(folder, ignore_errors=True)
        return StoreSize(count, freed)

    @cached_property
    def _layout(self) -> Layout:
        return Layout(self.root)

    def _inspect(self, key: str) -> Artifact | Damaged | None:
        folder = self._layout.folder(key)
        if not folder.exists():
            return None
        manifest = read_manifest(folder, key)
        if isinstance(manifest, Damaged):
            # A `replace` in another process takes the folder away for a moment.
            return manifest if folder.exists() else None
        problem = verify_files(folder, manifest)
        return Damaged(key, problem, manifest.stage) if problem else Artifact(key, folder, manifest)

    def _get_locked(self, key: str) -> Artifact | None:
        found = self._inspect(key)
        if isinstance(found, Damaged):
            self._layout.discard(self._layout.folder(key))
            self.on_damaged(found)
            return None
        return _touch(found)

    @contextmanager
    def _drafting(self, key: str, stage: str, *, replace: bool) -> Iterator[Draft]:
        for folder in self._layout.leftovers(key):
            shutil.rmtree(folder, ignore_errors=True)
        draft = Draft(self._layout.temporary(key))
        started = time.monotonic()
        try:
            yield draft
            existing = None if replace else self._get_locked(key)
            draft.artifact = existing or self._publish(key, stage, draft, time.monotonic() - started)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)

    def _publish(self, key: str, stage: str, draft: Draft, seconds: float) -> Artifact:
        if (draft.path / MANIFEST_NAME).exists():
            raise StageError(f"stage `{stage}` wrote a file named {MANIFEST_NAME}, which is the store's own")
        manifest = Manifest(
            stage=stage,
            key=key,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=seconds,
            harness_version=version.__version__,
            files=checksums(draft.path),
            meta=checked_meta(draft.meta),
        ).sealed()
        (draft.path / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.path.chmod(0o755)  # made private as a temporary folder, which would break a store that users share
        folder = self._layout.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            self._layout.discard(folder)
        draft.path.rename(folder)
        shutil.rmtree(self._layout.scratch(key), ignore_errors=True)
        return Artifact(key, folder, manifest)


def _touch(artifact: Artifact | None) -> Artifact | None:
    """Mark as used now, for `prune`."""
    if artifact is not None:
        with suppress(OSError):  # a store that is read-only
            os.utime(artifact.path / MANIFEST_NAME)
    return artifact


def _last_used(folder: Path) -> float:
    manifest = folder / MANIFEST_NAME
    return (manifest if manifest.exists() else folder).stat().st_mtime


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process removes it
            total += path.stat().st_size if path.is_file() else 0
    return total
