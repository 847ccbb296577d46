"""The nightly job: run every scenario, append to the history, check the gates, compare with the baseline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.comparison.baseline import FOLDER, baseline_path, save_baseline
from harness.comparison.compare_runs import CompareOptions, compare_runs
from harness.comparison.environments import EnvironmentDifference, differences
from harness.comparison.gates import worst_exit_code
from harness.comparison.judge_changes import SECTIONS
from harness.comparison.snapshot import Snapshot
from harness.comparison.sources import RESULTS, machine_classes_of, read_baseline, read_run
from harness.engine.store import Store
from harness.errors import EXIT_INCONCLUSIVE, EXIT_OK, EXIT_USAGE, EXIT_VARIANT_FAILED, UsageError, most_severe
from harness.history.database import append, entries
from harness.history.place import history_path
from harness.history.trends import Trend, trends
from harness.paths import require_inside
from harness.results import RunResults
from harness.results.comparison import Comparison
from harness.runs.complete import complete_run
from harness.runs.executing import Display
from harness.runs.preparation import Prepared, RunOptions, prepare_runs
from harness.scenario import load_scenario

SUFFIXES = (".yaml", ".yml")
_RECENT_RUNS = 5
_NAME = re.compile(r"^name:\s*['\"]?([^\s'\"#]+)", re.MULTILINE)


@dataclass(frozen=True)
class NightlyRun:
    """The results of a nightly run."""

    directory: Path
    runs: tuple[RunResults, ...]
    folders: tuple[Path, ...]
    """Of the runs, in their order; in `directory`."""
    comparison: Comparison | None
    """None without any baseline for machines of this class."""
    without_baseline: tuple[str, ...]
    """Scenarios that nothing is stored for."""
    saved: tuple[Path, ...]
    """Baselines that were written into the project."""
    not_compared: tuple[EnvironmentDifference, ...]
    """Conditions that forbid comparing some figures."""
    trends: tuple[Trend, ...]
    not_written: tuple[str, ...] = ()
    """Reports that there was no room for, each in one message."""

    def exit_code(self, *, strict: bool = False) -> int:
        """0: nothing is proven worse; 1: something is; 3: a variant failed, as before; 4: undecided, with `strict`."""
        gates = [worst_exit_code(run.gates, strict=strict) for run in self.runs]
        failed = any(row.status == "failed" for run in self.runs for row in run.rows)
        compared = EXIT_OK if self.comparison is None else self.comparison.exit_code(strict=strict)
        is_open = bool(self.not_compared) or bool(set(self.without_baseline) - {path.stem for path in self.saved})
        undecided = EXIT_INCONCLUSIVE if strict and is_open else EXIT_OK
        unwritten = EXIT_USAGE if self.not_written else EXIT_OK
        return most_severe([*gates, EXIT_VARIANT_FAILED if failed else EXIT_OK, compared, undecided, unwritten])


@dataclass(frozen=True)
class Project:
    """Where the things of a project lie."""

    root: Path
    baselines: Path
    history: Path

    @classmethod
    def at(cls, root: Path, baselines: Path | None = None, history: Path | None = None) -> Project:
        """With the usual places where none are given."""
        return cls(root, baselines or root / FOLDER, history_path(root, history))


def scenario_files(given: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as the scenarios in them; UsageError where there are none."""
    found = []
    for path in given:
        inside = sorted(each for each in path.glob("*") if each.suffix in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path} holds no scenario (*.yaml)", fix="name scenario files, or a folder of them")
        found += inside
    return list(dict.fromkeys(found))


def prepare_files(files: Sequence[Path], options: RunOptions) -> list[Prepared]:
    """Check every scenario before the first one runs; UsageError where two have one name."""
    prepared = prepare_runs([load_scenario(path) for path in files], options)
    names = [item.about.name for item in prepared]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two scenarios are called `{twice[0]}`", fix="give each a `name` of its own")
    return prepared


def run_nightly(
    prepared: Sequence[Prepared],
    files: Sequence[Path],
    project: Project,
    directory: Path,
    store: Store,
    options: RunOptions,
    display: Display,
    *,
    save_missing: bool = False,
) -> NightlyRun:
    """Run, append, judge. Baselines and history are opened first: a damaged file costs no nightly run."""
    stored = stored_baselines(project.baselines)
    append(project.history, ())
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    runs = []
    not_written: list[str] = []
    for item in prepared:
        folder = directory / f"{item.about.name}-{stamp}"
        folder.mkdir(parents=True)
        done = complete_run(item, folder, store, options, display, history=project.history)
        if done.not_kept is not None:
            raise done.not_kept
        if done.not_reported is not None:  # the record is written: the other scenarios still run
            not_written.append(str(done.not_reported))
        runs.append(done.results)
    after = {run.scenario: read_run(directory / f"{run.scenario}-{stamp}" / RESULTS) for run in runs}
    before = _of_this_machine(stored, after, names_beside(files))
    missing = tuple(name for name in after if name not in before)
    for name, snapshot in after.items():  # what to commit if this run is to become the baseline
        _save(snapshot, name, directory / FOLDER)
    saved = tuple(_save(after[name], name, project.baselines) for name in missing) if save_missing else ()
    comparison, not_compared = _compared(before, after, (str(project.baselines), str(directory)))
    looked_at = [trend for trend in trends(entries(project.history)) if trend.scenario in after]
    here = set(machine_classes_of(after))
    return NightlyRun(
        directory=directory,
        runs=tuple(runs),
        folders=tuple(directory / f"{run.scenario}-{stamp}" for run in runs),
        comparison=comparison,
        without_baseline=missing,
        saved=saved,
        not_compared=not_compared,
        not_written=tuple(not_written),
        trends=tuple(trend for trend in looked_at if trend.machine_class in here),
    )


def stored_baselines(folder: Path) -> dict[str, dict[str, Snapshot]]:
    """Baselines by machine class and scenario; UsageError for a damaged one."""
    found: dict[str, dict[str, Snapshot]] = {}
    for file in sorted(folder.glob("*/*.json")):
        snapshot = read_baseline(file)
        found.setdefault(file.parent.name, {})[snapshot.results.scenario] = snapshot
    return found


def names_beside(files: Iterable[Path]) -> set[str]:
    """Names of the scenarios that lie beside the given files and were not asked for: they have not vanished."""
    given = {file.resolve() for file in files}
    beside = {other for file in given for other in file.parent.glob("*") if other.suffix in SUFFIXES}
    texts = (other.read_text(encoding="utf-8", errors="replace") for other in beside - given)
    return {name.group(1) for text in texts if (name := _NAME.search(text))}


def _of_this_machine(
    stored: Mapping[str, Mapping[str, Snapshot]], after: Mapping[str, Snapshot], not_asked: set[str]
) -> dict[str, Snapshot]:
    found: dict[str, Snapshot] = {}
    for machine_class in machine_classes_of(after):
        found |= {name: base for name, base in stored.get(machine_class, {}).items() if name not in not_asked}
    return found


def _compared(
    before: Mapping[str, Snapshot], after: Mapping[str, Snapshot], names: tuple[str, str]
) -> tuple[Comparison | None, tuple[EnvironmentDifference, ...]]:
    """The comparison of what may be compared, and what forbids the rest."""
    if not before:
        return None, ()
    refusals = list(_refusals(before, after))
    affected = {section for each in refusals for section in each.affects}
    options = CompareOptions(sections=frozenset(SECTIONS) - affected)
    return compare_runs(before, after, options, names=names), tuple(refusals)


def _refusals(before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> Iterator[EnvironmentDifference]:
    found = {
        each.what: each
        for name in before.keys() & after.keys()
        for each in differences(before[name].results, after[name].results)
        if each.severity == "refuse"
    }
    yield from found.values()


def _save(snapshot: Snapshot, name: str, folder: Path) -> Path:
    path = baseline_path(folder, snapshot.results.environment, name)
    require_inside(path.parent, folder)
    save_baseline(snapshot, path)
    return path


def recent_steps(nightly: NightlyRun) -> list[Trend]:
    """Series with the steps that began within the last few runs, and no others."""
    found = []
    for trend in nightly.trends:
        steps = tuple(each for each in trend.steps if each.step.index >= len(trend.entries) - _RECENT_RUNS)
        if steps:
            found.append(replace(trend, steps=steps))
    return found
