"""How scenarios name plug-ins: `FILE.py:NAME`, or the name that an installed package registers as an entry point."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from harness.fields import Name, OneOf

Kind = Literal["calibrator", "metric", "PTQ step", "data source", "toolkit", "load scenario", "training loop", "target"]
"""What a plug-in is; the word is used in messages."""
GROUPS: Final[Mapping[Kind, str]] = {
    "calibrator": "harness.calibrators",
    "metric": "harness.metrics",
    "PTQ step": "harness.ptq_steps",
    "data source": "harness.data_sources",
    "toolkit": "harness.toolkits",
    "load scenario": "harness.load_scenarios",
    "training loop": "harness.training_loops",
    "target": "harness.targets",
}
"""Groups of entry points by kind."""
FORM = "`FILE.py:NAME`"
_FILE_PATTERN = r"\.py:\w+$"


class FileName(NamedTuple):
    """`FILE.py:NAME`, taken apart."""

    file: str
    attribute: str


def parse_file_name(text: str) -> FileName | None:
    """The parts of a name that refers to an object in a file; None for other names."""
    file, _, attribute = text.rpartition(":")
    return FileName(file, attribute) if file.endswith(".py") and attribute.isidentifier() else None


def entry_points(kind: Kind) -> dict[str, tuple[metadata.EntryPoint, ...]]:
    """What installed packages register, by name; nothing of it is imported."""
    return _all_entry_points(tuple(sys.path))[kind]


@functools.lru_cache(maxsize=4)
def _all_entry_points(path: tuple[str, ...]) -> dict[Kind, dict[str, tuple[metadata.EntryPoint, ...]]]:
    """Finding them reads the metadata of every package on `path`, which is `sys.path`."""
    every = metadata.entry_points()
    found: dict[Kind, dict[str, tuple[metadata.EntryPoint, ...]]] = {}
    for kind, group in GROUPS.items():
        points = every.select(group=group)
        found[kind] = {name: tuple(points.select(name=name)) for name in points.names}
    return found


def short_name(name: str) -> str:
    """A name as part of a variant's id, of `[a-z0-9_.-]` only: `folder/clip.py:Half` is `clip.half`."""
    parsed = parse_file_name(name)
    if parsed is None:
        return name
    stem = parsed.file.rpartition("/")[2].removesuffix(".py")
    return re.sub(r"[^a-z0-9_.]+", "-", f"{stem}.{parsed.attribute}".lower()).strip("-.")


def _require_complete(value: Any) -> None:
    if isinstance(value, str) and value.endswith(".py"):
        fix = f"write {FORM}, such as `{value}:Half`"
        raise PydanticCustomError("plugin", "`{text}` names a file, not what is in it", {"text": value, "fix": fix})


@dataclass(frozen=True)
class OrFile:
    """The annotated type, or `FILE.py:NAME`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": _FILE_PATTERN}]}

    @staticmethod
    def _check(value: Any, check: Callable[[Any], Any]) -> Any:
        _require_complete(value)
        return value if isinstance(value, str) and parse_file_name(value) else check(value)


PluginName = Annotated[Name, OrFile()]
"""A name whose existence is checked when the scenario is prepared."""


@dataclass(frozen=True)
class OneOfOrPlugin(OneOf):
    """One of the built-in names, the name of an installed plug-in, or `FILE.py:NAME`."""

    kind: Kind

    def _check(self, value: Any) -> Any:
        _require_complete(value)
        if isinstance(value, str) and parse_file_name(value):
            return value
        names = self.names()
        if value in names:
            return value
        names = (*names, *sorted(entry_points(self.kind)))
        if value not in names:
            raise PydanticKnownError("literal_error", {"expected": ", ".join(f"'{name}'" for name in names)})
        return value
