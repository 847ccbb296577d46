"""The places where a data set of files may lie, in the order in which they are tried."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.settings import DatasetSpec, Location
from harness.errors import DataError
from harness.paths import cache_or_temporary_folder, expanded

ENVIRONMENT_VARIABLE = "HARNESS_DATA"
ORDER: tuple[Location, ...] = ("env", "cache", "system", "package", "embedded")
"""After an explicit path, which is never replaced by another place."""


@dataclass(frozen=True)
class Places:
    """Where one data set may lie."""

    folder: str
    """Its folder below `$HARNESS_DATA` and below the user's cache."""
    install: str
    """How to get the data, for error messages."""
    system: tuple[Path, ...] = ()
    """Folders that system packages install."""
    packages: tuple[tuple[str, str], ...] = ()
    """Python packages that ship it: (top-level module, folder inside it). They are never imported."""
    embedded: Path | None = None
    """File or folder inside this package."""


@dataclass(frozen=True)
class DataLocation:
    """A place that holds the data."""

    location: Location
    path: Path

    @property
    def description(self) -> str:
        """For people: `embedded`, or the location and its path."""
        return "embedded" if self.location == "embedded" else f"{self.location}: {self.path}"


def cache_folder(places: Places) -> Path:
    """Where downloads of this data set are kept."""
    return cache_or_temporary_folder() / "datasets" / places.folder


def candidate_locations(spec: DatasetSpec, root: Path, places: Places) -> Iterator[DataLocation]:
    """The places to look in, first choice first; nothing is opened."""
    location = spec.location
    for kind in ORDER if location == "auto" else (location,):
        for path in _paths(kind, spec, root, places):
            yield DataLocation(kind, path)


def _paths(kind: Location, spec: DatasetSpec, root: Path, places: Places) -> Iterator[Path]:
    if kind == "path" and spec.path is not None:
        yield root / expanded(spec.path)
    elif kind == "env" and os.environ.get(ENVIRONMENT_VARIABLE):
        yield expanded(os.environ[ENVIRONMENT_VARIABLE]) / places.folder
    elif kind == "cache":
        yield cache_folder(places)
    elif kind == "system":
        yield from places.system
    elif kind == "package":
        yield from _package_folders(places)
    elif kind == "embedded" and places.embedded is not None:
        yield places.embedded


def _package_folders(places: Places) -> Iterator[Path]:
    for module, folder in places.packages:
        spec = importlib.util.find_spec(module)
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(location) / folder


def find_data(
    spec: DatasetSpec,
    root: Path,
    places: Places,
    holds: Callable[[Path], bool],
    fetch: Callable[[Path], None] | None = None,
) -> DataLocation:
    """The first place for which `holds` is true.

    `fetch`, when given, fills the cache: under `location: cache` if it is empty, under `auto` before falling back to
    the embedded subset. Raises DataError when no place that the spec allows has the data.
    """
    cache = DataLocation("cache", cache_folder(places))
    for place in candidate_locations(spec, root, places):
        if place.location == "embedded" and spec.location == "auto" and fetch is not None:
            fetch(cache.path)
            return cache
        if holds(place.path):
            return place
    if fetch is not None and spec.location in ("auto", "cache"):
        fetch(cache.path)
        return cache
    raise _missing(spec, root, places)


def _missing(spec: DatasetSpec, root: Path, places: Places) -> DataError:
    location, name = spec.location, spec.source
    looked = [str(place.path) for place in candidate_locations(spec, root, places)]
    fixes = {
        "path": "correct `path`, or use `location: auto`",
        "env": f"set {ENVIRONMENT_VARIABLE} to the folder that holds `{places.folder}/`, or use `location: auto`",
        "cache": "run again with `--download` (pytest: `--harness-download`)",
        "package": f"use `location: auto`, or {places.install}",
        "embedded": f"{places.install}, and use `location: auto`",
    }
    if location == "env" and not os.environ.get(ENVIRONMENT_VARIABLE):
        message = f"data set `{name}`: ${ENVIRONMENT_VARIABLE} is not set"
    elif looked:
        message = f"data set `{name}` is not there (`location: {location}`); looked in {', '.join(looked)}"
    else:
        message = f"data set `{name}`: nothing provides `location: {location}`"
    return DataError(message, fix=fixes.get(location, places.install))
