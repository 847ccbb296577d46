"""Keys of the artifact store: equal work has equal keys, and anything that can change a result changes the key."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel


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
