"""A scenario file, read and checked before anything is started."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from harness.errors import ScenarioError
from harness.paths import read_bounded
from harness.scenario.checks import consistency_errors
from harness.scenario.gate_selection import gate_errors
from harness.scenario.matrix import expand
from harness.scenario.problems import scenario_errors
from harness.scenario.reader import MAX_BYTES, mark_at, read_yaml
from harness.scenario.schema import Scenario
from harness.scenario.source import joined

ROOT_MARKERS = ("models", "pyproject.toml", ".git")


def load_scenario(path: Path | str) -> Scenario:
    """The scenario of a YAML file; ScenarioError names every problem with file, line, column and fix.

    Factory and weights files must exist. Names of data sources, targets, toolkits and augmentations are left to
    `check_names`.
    """
    path = Path(path)
    data, source = read_yaml(_read_text(path), path, find_root(path))
    try:
        scenario = Scenario.model_validate(data).with_source(source)
    except ValidationError as error:
        raise joined(scenario_errors(error, source)) from None
    errors = list(consistency_errors(scenario))
    if errors:
        raise joined(errors)
    scenario = scenario.with_callbacks_applied()
    errors = list(gate_errors(scenario, expand(scenario)))
    if errors:
        raise joined(errors)
    return scenario


def find_root(path: Path) -> Path:
    """The nearest folder above a scenario file that holds `models/`, `pyproject.toml` or `.git`, else its own."""
    folder = Path(os.path.realpath(path)).parent
    for candidate in (folder, *folder.parents):
        if any(os.path.exists(candidate / marker) for marker in ROOT_MARKERS):  # noqa: PTH110 - never raises
            return candidate
    return folder


def _read_text(path: Path) -> str:
    try:
        raw = read_bounded(path, MAX_BYTES)
    except FileNotFoundError:
        raise ScenarioError("there is no such scenario file", path=path, fix=_near_file(path)) from None
    except IsADirectoryError:
        raise ScenarioError("is a folder, not a scenario file", path=path, fix=_files_in(path)) from None
    except OSError as error:
        raise ScenarioError(
            f"cannot be read: {error.strerror}", path=path, fix="check the path and its rights"
        ) from None
    except ValueError:
        raise ScenarioError("a path cannot hold a NUL character", path=path, fix="check the path") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        mark = mark_at(before, len(before))
        raise ScenarioError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            path=path,
            line=mark.line,
            column=mark.column,
            fix="save the file as UTF-8",
        ) from None


def _files_in(folder: Path) -> str:
    files = sorted(file.name for file in folder.glob("*.y*ml"))
    return "name one of its files" + (f": {', '.join(files)}" if files else "")


def _near_file(path: Path) -> str:
    try:
        if not path.parent.is_dir():
            return f"the folder `{path.parent}` does not exist either: check the path"
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix == (path.suffix or ".yaml"))
    except OSError:
        return "check the path"
    stems = get_close_matches(path.stem, [Path(name).stem for name in names], n=3, cutoff=0.5)
    close = [name for name in names if Path(name).stem in stems] or names[:5]
    return "near it are: " + ", ".join(f"`{path.parent / name}`" for name in close) if close else "check the path"
