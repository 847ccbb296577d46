"""Keys of the artifact store: equal work has equal keys, and anything that can change a result changes the key."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import importlib.metadata
import importlib.util
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

ABSENT = "absent"


def digest(value: object) -> str:
    """sha256 in hexadecimal of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """One text for all equal values: sorted keys and sets, shortest exact floats, no white space.

    Models and dataclasses carry their class name, since two classes may have equal fields. A pydantic field
    declared with `Field(exclude=True)` cannot change results (a path beside its checksum, say) and stays out.

    TypeError for values without a canonical form, ValueError for NaN and infinity.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _plain_float(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, AbstractSet):
        return sorted((_plain(item) for item in value), key=canonical_json)
    return _plain_fields(value)


def _plain_float(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be part of a configuration")
    return value + 0.0  # -0.0 equals 0.0, and so must their keys


def _plain_fields(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, BaseModel):
        names = [name for name, info in type(value).model_fields.items() if not info.exclude]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [item.name for item in dataclasses.fields(value)]
    else:
        raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")
    return {"": type(value).__qualname__} | {name: _plain(getattr(value, name)) for name in names}


def _plain_mapping(value: Mapping[Any, object]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"keys of a mapping must be text, not {type(key).__name__}: {key!r}")
    return {key: _plain(item) for key, item in value.items()}


@cache
def library_version(name: str) -> str:
    """Installed version of a distribution, local part included, or `absent`."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


@cache
def source_digest(name: str) -> str:
    """sha256 over the source text of a module, or of all modules of a package.

    Nothing below the top-level package is imported. ValueError when there is no such source.
    """
    location = _source_location(name)
    files = sorted(location.rglob("*.py")) if location.is_dir() else [location]
    if not files:
        raise ValueError(f"no source for `{name}`")
    total = hashlib.sha256()
    for path in files:
        relative = path.relative_to(location.parent).as_posix()
        total.update(f"{relative} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _source_location(name: str) -> Path:
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ValueError(f"no source for `{name}`")
    if not rest and not spec.submodule_search_locations:
        return Path(spec.origin or "")
    for root in spec.submodule_search_locations or []:
        base = Path(root).joinpath(*rest)
        for candidate in (base, base.with_name(base.name + ".py")):
            if candidate.exists():
                return candidate
    raise ValueError(f"no source for `{name}`")
