"""The manifest of one artifact: what made it, when, and the checksum of every file in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from harness.errors import StageError

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA_VERSION = 1


class FileEntry(BaseModel):
    """Checksum and size of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What `manifest.json` of an artifact holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = MANIFEST_SCHEMA_VERSION
    stage: str
    key: str
    created_at: str
    """ISO 8601, UTC."""
    seconds: float
    """What making it took."""
    harness_version: str
    files: dict[str, FileEntry]
    """Keyed by path relative to the artifact's folder, with `/`."""
    meta: dict[str, JsonValue]
    """The stage's own small results."""
    sha256: str = ""
    """Checksum of this manifest without this field."""

    def sealed(self) -> Manifest:
        """The same manifest with its own checksum filled in."""
        return self.model_copy(update={"sha256": self.checksum()})

    @property
    def is_intact(self) -> bool:
        """Whether its own checksum is right."""
        try:
            return self.checksum() == self.sha256
        except (ValueError, RecursionError):  # damage may read as a number or a text that JSON cannot hold
            return False

    def checksum(self) -> str:
        """Checksum over every other field."""
        content = self.model_dump(mode="json", exclude={"sha256"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Damaged:
    """An artifact that does not match its manifest; it has been removed and will be made again."""

    key: str
    problem: str
    stage: str | None = None

    def __str__(self) -> str:
        name = f"artifact {self.key[:12]}" + (f" of stage `{self.stage}`" if self.stage else "")
        return f"{name} is damaged ({self.problem}); it is made again"


def checked_meta(meta: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`meta` as plain JSON values; StageError when JSON cannot hold it (NaN and infinity included)."""
    try:
        plain: dict[str, JsonValue] = json.loads(json.dumps(dict(meta), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StageError(f"a stage returned results that JSON cannot hold: {error}") from error
    return plain


def checksums(folder: Path) -> dict[str, FileEntry]:
    """Checksum and size of every file under `folder`; StageError for links, which could point anywhere."""
    return {name: _entry(folder / name) for name in _file_names(folder)}


def read_manifest(folder: Path, key: str) -> Manifest | Damaged:
    """The manifest of an artifact, itself checked, its files not."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except OSError as error:
        return Damaged(key, f"{MANIFEST_NAME} cannot be read: {error.strerror}")
    except ValidationError:
        return Damaged(key, f"{MANIFEST_NAME} is not valid")
    if not manifest.is_intact:
        return Damaged(key, f"{MANIFEST_NAME} was changed", manifest.stage)
    if manifest.key != key:
        return Damaged(key, f"it belongs to key {manifest.key[:12]}", manifest.stage)
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> str | None:
    """What is wrong with the files of an artifact, or None. Sizes are compared before anything is hashed."""
    try:
        names = set(_file_names(folder))
        if missing := sorted(set(manifest.files) - names):
            return f"{missing[0]} is missing"
        if extra := sorted(names - set(manifest.files)):
            return f"{extra[0]} does not belong to it"
        for name, entry in manifest.files.items():
            if (size := (folder / name).stat().st_size) != entry.bytes:
                return f"{name} has {size} bytes instead of {entry.bytes}"
        for name, entry in manifest.files.items():
            if _sha256(folder / name) != entry.sha256:
                return f"{name} has another checksum"
    except (OSError, StageError) as error:
        return str(error)
    return None


def _file_names(folder: Path) -> list[str]:
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise StageError(f"an artifact must hold plain files, and {path.name} is a link")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST_NAME:
            names.append(name)
    return names


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=_sha256(path), bytes=path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
