"""The levels of the scenario schema: which keys each may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from harness.fields import Section
from harness.load.settings import LoadSettings
from harness.scenario.load_settings import settings_types
from harness.scenario.schema import Scenario
from harness.scenario.source import Loc
from harness.scenario.target_options import options_types
from harness.targets.settings import TargetOptions

ANY = "*"
"""Stands for a name that the user chooses, or the index in a list."""


class Level(NamedTuple):
    """One level: its path, with `ANY` for free names, and the class of its keys."""

    path: tuple[str, ...]
    section: type[Section]


@cache
def levels() -> tuple[Level, ...]:
    """All levels, outermost first."""
    return tuple(_walk(Scenario, ()))


def _named_levels(common: type[Section], path: tuple[str, ...]) -> Iterator[Level]:
    """Targets and load scenarios with keys of their own; they stand before the level that `ANY` stands for."""
    found: Mapping[str, type[Section]] = {}
    if common is TargetOptions:
        found = options_types()
    elif common is LoadSettings:
        found = settings_types()
    yield from (Level((*path, name), section) for name, section in found.items() if section is not common)


def _walk(section: type[Section], path: tuple[str, ...]) -> Iterator[Level]:
    yield Level(path, section)
    for name, info in section.model_fields.items():
        inner = section_in(info.annotation)
        if inner is not None:
            yield from _named_levels(inner, (*path, name))
            free = (ANY,) if is_repeated(info.annotation) else ()
            yield from _walk(inner, (*path, name, *free))


def section_in(annotation: Any) -> type[Section] | None:
    """The section class inside an annotation such as `dict[str, ModelSpec]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def is_repeated(annotation: Any) -> bool:
    """Whether an annotation holds its section many times, by name or in a list, and not once or not at all."""
    if get_origin(annotation) in (Union, UnionType):
        return any(is_repeated(part) for part in get_args(annotation) if part is not type(None))
    return not isinstance(annotation, type)


def section_at(loc: Loc) -> type[Section] | None:
    """Class of the level at `loc`; None where keys are free or there is no such level."""
    for level in levels():
        if len(level.path) == len(loc) and all(want in (ANY, have) for want, have in zip(level.path, loc, strict=True)):
            return level.section
    return None
