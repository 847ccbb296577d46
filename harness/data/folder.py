"""What lies in a folder of image files: every entry is an image, skipped with a reason, or ignored."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import DataError
from harness.text import one_line

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"})
OTHER_PICTURES = frozenset(
    {".gif", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".svg", ".ppm", ".pgm", ".pnm", ".tga", ".psd", ".raw"}
    | {".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr", ".dcm", ".ico", ".npy", ".dds"}
)
"""Suffixes of pictures that are not read."""
IGNORED_NAMES = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "icon\r"})
"""What operating systems leave behind, in lower case; names that begin with a dot are ignored, too."""
_RIGHTS = "give this user the right to read it, or move it out of the data set"

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image, by its suffix."""

    path: Path
    parts: tuple[str, ...]
    """Its path below the scanned folder."""

    @property
    def name(self) -> str:
        """The path below the folder, safe to print."""
        return one_line("/".join(self.parts))


@dataclass(frozen=True)
class LeftOut:
    """An entry that gives no sample."""

    name: str
    """Safe to print."""
    reason: str
    is_picture: bool = False
    """Whether its suffix is that of a picture, of a kind that is not read."""


@dataclass(frozen=True)
class Listing:
    """Everything below a folder, in the order of paths."""

    images: tuple[ImageFile, ...]
    skipped: tuple[LeftOut, ...]
    """No images by name or kind."""
    unreadable: tuple[LeftOut, ...]
    """Links to nothing: what they stood for is unknown."""
    ignored: tuple[str, ...]
    """Dot-files, and what operating systems leave behind; one entry for each file in an ignored folder."""
    folders: tuple[tuple[str, ...], ...]
    """Paths of all folders below the root, also of empty ones."""


@dataclass
class _Found:
    images: list[ImageFile] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)
    unreadable: list[LeftOut] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    folders: list[tuple[str, ...]] = field(default_factory=list)
    seen: dict[Identity, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Visit:
    path: str
    parts: tuple[str, ...]
    above: frozenset[Identity]


def scan(root: Path) -> Listing:
    """List `root` at any depth; links are followed, and one that leads back up is skipped.

    Raises DataError for a folder that cannot be read, a folder that is reached twice, and a folder whose name is not
    UTF-8.
    """
    found, visits = _Found(), [_Visit(os.fspath(root), (), frozenset())]
    while visits:
        visits += _visit(visits.pop(), found)
    return Listing(
        images=tuple(sorted(found.images, key=lambda file: file.parts)),
        skipped=tuple(sorted(found.skipped, key=lambda entry: entry.name)),
        unreadable=tuple(sorted(found.unreadable, key=lambda entry: entry.name)),
        ignored=tuple(sorted(found.ignored)),
        folders=tuple(sorted(found.folders)),
    )


def image_files(folder: Path) -> list[Path]:
    """Image files at any depth, in the order of their paths."""
    return [file.path for file in scan(folder).images]


def holds_entries(folder: Path) -> bool:
    """Whether it is a folder with anything in it that is not ignored; DataError without the right to look."""
    try:
        return folder.is_dir() and any(not _is_ignored(entry.name) for entry in os.scandir(folder))
    except PermissionError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}", fix=_RIGHTS) from None
    except (OSError, ValueError):
        return False


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED_NAMES


def _visit(visit: _Visit, found: _Found) -> list[_Visit]:
    """Sort the entries of one folder; the folders in it."""
    name = one_line("/".join(visit.parts) or visit.path)
    try:
        identity = _identity(Path(visit.path).stat())
        entries = sorted(os.scandir(visit.path), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder `{name}` cannot be read: {error.strerror}", fix=_RIGHTS) from None
    if identity in found.seen:
        message = f"folders `{found.seen[identity]}` and `{name}` are the same folder, through links"
        raise DataError(message, fix="remove one of the links: its images would be samples twice")
    found.seen[identity] = name
    above = visit.above | {identity}
    inside = (_sort(entry, visit, above, found) for entry in entries)
    return [folder for folder in inside if folder is not None]


def _sort(entry: os.DirEntry[str], visit: _Visit, above: frozenset[Identity], found: _Found) -> _Visit | None:
    parts = (*visit.parts, entry.name)
    name = one_line("/".join(parts))
    if _is_ignored(entry.name):
        found.ignored += _files_below(entry, name)
        return None
    try:
        status = entry.stat()
    except OSError as error:
        _require_link(entry, name, error)
        found.unreadable.append(LeftOut(name, "a link to nothing"))
        return None
    if stat.S_ISDIR(status.st_mode):
        return _enter(entry, parts, status, above, found)
    suffix = Path(entry.name).suffix.lower()
    if not stat.S_ISREG(status.st_mode):
        found.skipped.append(LeftOut(name, "no regular file"))
    elif suffix in SUFFIXES:
        found.images.append(ImageFile(Path(entry.path), parts))
    else:
        reason = f"`{one_line(suffix)}` is not read" if suffix else "no suffix of an image"
        found.skipped.append(LeftOut(name, reason, is_picture=suffix in OTHER_PICTURES))
    return None


def _enter(
    entry: os.DirEntry[str],
    parts: tuple[str, ...],
    status: os.stat_result,
    above: frozenset[Identity],
    found: _Found,
) -> _Visit | None:
    name = one_line("/".join(parts))
    if _identity(status) in above:
        found.skipped.append(LeftOut(name, "a link to a folder that it lies in"))
        return None
    if not _is_utf8(entry.name):
        raise DataError(f"the name of folder `{name}` is not UTF-8", fix="rename it: class names are printed")
    found.folders.append(parts)
    return _Visit(entry.path, parts, above)


def _require_link(entry: os.DirEntry[str], name: str, error: OSError) -> None:
    if not entry.is_symlink():
        raise DataError(f"`{name}` cannot be looked at: {error.strerror}", fix=_RIGHTS) from None


def _files_below(entry: os.DirEntry[str], name: str) -> Iterator[str]:
    """The ignored file itself, or the files in an ignored folder; links in it are not followed."""
    if not entry.is_dir(follow_symlinks=False):
        yield name
        return
    for _, _, files in os.walk(entry.path):
        yield from (f"{name}/{one_line(file)}" for file in files)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
