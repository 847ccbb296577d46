"""Records of finished work, kept somewhere even where their folder is full or gone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UsageError
from harness.paths import replace_text

_FIX = "free some space, move it where it belongs, and `harness report` it; what was computed is in the store as well"


def save_record(text: str, path: Path, store_root: Path) -> None:
    """Write a record.

    Where that cannot be done it is kept in the store's folder, else in a temporary one, and a UsageError says where.
    """
    try:
        replace_text(path, text)
    except OSError as error:
        kept = _kept(text, path, store_root)
        what = f"cannot write {path}: {error.strerror}"
        if kept is None:
            fix = "free some space and run it again: what was computed is in the store"
            raise UsageError(f"{what}; there is no room for it elsewhere either", fix=fix) from error
        raise UsageError(f"{what}; the record is kept as {kept}", fix=_FIX) from error


def _kept(text: str, path: Path, store_root: Path) -> Path | None:
    for folder in (store_root / "unsaved" / path.parent.name, Path(tempfile.gettempdir()) / path.parent.name):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            replace_text(folder / path.name, text)
            return folder / path.name
    return None


class Problems:
    """What could not be written beside the record; the work goes on without it."""

    def __init__(self) -> None:
        self._found: list[str] = []

    @contextmanager
    def noted(self, path: Path) -> Iterator[None]:
        """Note what the operating system refuses in the block; what it left at `path` is removed."""
        try:
            yield
        except OSError as error:
            self._found.append(f"{error.filename or path}: {error.strerror or error}")
            with suppress(OSError):
                path.unlink()

    def raise_first(self, directory: Path) -> None:
        """UsageError where anything was noted."""
        if self._found:
            more = f" and {len(self._found) - 1} more" if len(self._found) > 1 else ""
            fix = "free some space and run it again: what was computed is in the store"
            raise UsageError(f"cannot write {self._found[0]}{more}; results.json of the run is in {directory}", fix=fix)
