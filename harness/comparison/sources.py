"""From what a user names to snapshots: run folders, `results.json`, baseline files, and folders of any of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from harness.comparison.baseline import load_baseline
from harness.comparison.environments import machine_class
from harness.comparison.snapshot import DamagedSamples, Snapshot, snapshot_of_run
from harness.errors import UsageError, shortened
from harness.paths import read_bounded
from harness.results import MAX_RECORD_BYTES, RunResults

RESULTS = "results.json"
_FIX = "give a run's folder, its results.json, a baseline file, or a folder of them"


def read_side(path: Path, classes: Iterable[str] = ()) -> dict[str, Snapshot]:
    """Snapshots by scenario; of several runs of one scenario the latest.

    In a folder of baselines by machine class, those of `classes` are read. UsageError where nothing is found.
    """
    if not os.path.exists(path):  # noqa: PTH110 - never raises
        raise UsageError(f"there is no {path}", fix=_FIX)
    found: dict[str, Snapshot] = {}
    for file in _files(path, frozenset(classes)):
        snapshot = read_run(file) if file.name == RESULTS else read_baseline(file)
        other = found.get(snapshot.results.scenario)
        if other is None or other.results.started_at < snapshot.results.started_at:
            found[snapshot.results.scenario] = snapshot
    if not found:
        raise UsageError(f"{path} holds neither a run nor a baseline{_other_classes(path)}", fix=_FIX)
    return found


def load_results(path: Path | str) -> RunResults:
    """The record of a run, from its folder or its `results.json`, also of earlier versions.

    `rows` holds the figures of each variant and `row(id)` one of them; `gates`, `conclusions`, `environment` and all
    else that the report shows are there too. UsageError for anything else than a run.
    """
    path = Path(path)
    file = path / RESULTS if path.is_dir() else path
    try:
        return RunResults.load(file)
    except OSError as error:
        fix = "give a folder that `harness run` wrote"
        raise UsageError(f"cannot read {file}: {error.strerror}", fix=fix) from error
    except ValueError as error:
        raise UsageError(f"{file} is not the record of a run: {_first(error)}", fix="run the scenario again") from error


def read_run(file: Path) -> Snapshot:
    """A run from its `results.json`, with the raw material beside it; UsageError for anything else."""
    results, name = load_results(file), str(file.parent if file.name == RESULTS else file)
    try:
        return snapshot_of_run(results, file.parent, name)
    except DamagedSamples as error:
        fix = "run the scenario again, or remove that file: accuracy is then not compared in pairs"
        raise UsageError(str(error), fix=fix) from error


def read_baseline(file: Path) -> Snapshot:
    """A baseline, or the record of a run under another name; UsageError for anything else."""
    try:
        if _is_run(file):
            return read_run(file)
        return load_baseline(file)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", fix=_FIX) from error
    except ValueError as error:
        fix = "restore it from version control, or write it anew with `harness baseline save RUN`"
        raise UsageError(f"{file} is not a baseline: {_first(error)}", fix=fix) from error


def machine_classes_of(side: Mapping[str, Snapshot]) -> list[str]:
    """Machine classes that snapshots were made on."""
    return sorted({machine_class(snapshot.results.environment) for snapshot in side.values()})


def _files(path: Path, classes: frozenset[str]) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if (path / RESULTS).is_file():
        yield path / RESULTS
        return
    yield from _own_files(path)
    for folder in sorted(each for each in path.iterdir() if each.is_dir()):
        if (folder / RESULTS).is_file():
            yield folder / RESULTS
        elif folder.name in classes:
            yield from _own_files(folder)


def _own_files(folder: Path) -> list[Path]:
    """Baselines and runs; other JSON, such as `comparison.json` of a nightly run, may lie beside them."""
    return [file for file in sorted(folder.glob("*.json")) if not _is_foreign(file)]


def _is_foreign(file: Path) -> bool:
    """Whether it is sound JSON of another kind; a damaged file may have been a baseline, and is read to be refused."""
    try:
        return {"rows", "baseline_version"}.isdisjoint(_json(file))
    except (OSError, ValueError, TypeError):
        return False


def _other_classes(path: Path) -> str:
    """Baselines that are there, but for other machines."""
    if path.is_file():
        return ""
    names = sorted(each.name for each in path.iterdir() if each.is_dir() and _own_files(each))
    return f" for this machine; there are baselines for {', '.join(names)}" if names else ""


def _is_run(file: Path) -> bool:
    plain = _json(file)
    return isinstance(plain, dict) and "rows" in plain


def _json(file: Path) -> Any:
    """Any JSON value of bounded size and depth; OSError or ValueError otherwise."""
    return from_json(read_bounded(file, MAX_RECORD_BYTES))


def _first(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        return shortened(f"{problem['msg']} at `{place}`" if place else problem["msg"], 300)
    return shortened((str(error).splitlines() or ["it cannot be read"])[0], 300)
