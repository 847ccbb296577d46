"""Line and column of each value of a scenario in its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.errors import ScenarioError

Loc = tuple[str | int, ...]


class Mark(NamedTuple):
    """A position in a file, both counted from 1."""

    line: int
    column: int


class Place(NamedTuple):
    """Where a key and its value begin; items of a list have no key of their own."""

    key: Mark | None
    value: Mark
    is_scalar: bool


Places = Mapping[Loc, Place]


@dataclass(frozen=True)
class ScenarioSource:
    """The file of a scenario; the default is for one that was made in Python."""

    path: Path = Path("<python>")
    root: Path = field(default_factory=Path.cwd)
    places: Places = field(default_factory=dict)

    def error(self, loc: Loc, message: str, *, fix: str | None = None, on_key: bool = False) -> ScenarioError:
        """A ScenarioError at `loc`, or at the nearest level above it that the file holds."""
        mark = self.find(loc, on_key=on_key)
        line, column = mark or (None, None)
        return ScenarioError(message, path=self.path, line=line, column=column, fix=fix)

    def held(self, loc: Loc) -> Loc:
        """The parts of `loc` that the file holds."""
        found: Loc = ()
        for part in loc:
            found = (*found, part) if (*found, part) in self.places else found
        return found

    def find(self, loc: Loc, *, on_key: bool = False) -> Mark | None:
        """Position of the value at `loc`, of its key for a block or `on_key`; None without a file."""
        found: Loc = ()
        missing = False
        for part in loc:
            if (*found, part) in self.places:
                found = (*found, part)
            elif not isinstance(part, int):  # an index that is not there: one value stands for a list of one
                missing = True
                break
        place = self.places.get(found)
        if place is None:
            return None
        wants_key = on_key or (missing and not place.is_scalar) or (place.key and place.value.line != place.key.line)
        return place.key if wants_key and place.key else place.value


def dotted(loc: Loc) -> str:
    """A location as users write it: `models.resnet8.training`, `matrix.exclude[0]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_SHOWN = 50
"""Errors, beside the first one."""


def joined(errors: Iterable[ScenarioError]) -> ScenarioError:
    """All errors as one: its place is the first one's, its message lists each with its own place."""
    first, *others = sorted(errors, key=lambda error: (error.line or 0, error.column or 0))
    more = len(others) - _SHOWN
    if not others:
        return first
    message = first.message + (f"\n  fix: {first.fix}" if first.fix else "")
    listing = "\n".join([message, *(str(error) for error in others[:_SHOWN])])
    listing += f"\nand {more} more" if more > 0 else ""
    return ScenarioError(listing, path=first.path, line=first.line, column=first.column)
