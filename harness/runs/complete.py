"""A complete run, as every front starts it: checked, executed, kept in the history, reported.

The command line, the nightly run, the pytest plugin and `harness.run` differ in what they say of it, not in this.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.engine.local import Isolation
from harness.engine.progress import progress_display
from harness.engine.store import Store, default_root
from harness.errors import UsageError
from harness.history.database import append
from harness.history.place import history_path
from harness.machine.hardware import usable_cores
from harness.report import render
from harness.results import RunResults, Variant
from harness.results.run_folder import given_folder, new_folder
from harness.runs.executing import Display
from harness.runs.preparation import Prepared, RunOptions, prepare_runs
from harness.runs.run import run_scenario
from harness.scenario import Scenario, load_scenario
from harness.scenario.select import selector

Select = Callable[[Variant], bool]
Tell = Callable[[str], None]
_REPORTS = Path("reports")
_MOST_JOBS = 4
_ISOLATIONS: tuple[Isolation, ...] = ("process", "none")


@dataclass(frozen=True)
class CompleteRun:
    """A run that has ended. Its record is written; the rest may have failed, for instance on a full disk."""

    results: RunResults
    directory: Path
    written: tuple[Path, ...]
    """Files of the report."""
    not_kept: UsageError | None = None
    """Why it is not in the history, where it should be."""
    not_reported: UsageError | None = None
    """Why there is no report, where there should be one."""

    @property
    def problems(self) -> tuple[UsageError, ...]:
        """What failed after the record was written."""
        return tuple(each for each in (self.not_kept, self.not_reported) if each is not None)


def run_options(
    *, jobs: int | None = None, isolation: str = "process", download: bool = False, select: Select | None = None
) -> RunOptions:
    """How to run; `jobs=None` is one per core, at most 4. UsageError for an unknown isolation."""
    for known in _ISOLATIONS:
        if known == isolation:
            return RunOptions(jobs or min(usable_cores(), _MOST_JOBS), known, download, select)
    raise UsageError(f"unknown isolation `{isolation}`", fix="use `process` or `none`")


@contextmanager
def run_folder(out: Path | None, name: str) -> Iterator[Path]:
    """The folder of one run, which no other run has; an empty one goes away again when the run fails.

    None for a new one, `reports/NAME-TIME/`.
    """
    folder = new_folder(_REPORTS / f"{name}-{_now()}") if out is None else given_folder(out)
    with folder as directory:
        yield directory


def complete_run(
    prepared: Prepared,
    directory: Path,
    store: Store,
    options: RunOptions,
    display: Display,
    *,
    history: Path | None,
    report: bool = True,
) -> CompleteRun:
    """Execute a scenario that was checked, append it to a history, and write its report into `directory`."""
    results = run_scenario(prepared, directory, store, options, display)
    not_kept = not_reported = None
    written: list[Path] = []
    if history is not None:
        try:
            append(history, [results])
        except UsageError as error:
            not_kept = error
    if report:
        try:
            written = render(results, directory)
        except UsageError as error:
            not_reported = error
    return CompleteRun(results, directory, tuple(written), not_kept, not_reported)


def run_all(
    scenarios: Sequence[Scenario],
    options: RunOptions,
    *,
    out: Path | None = None,
    store: Path | None = None,
    history: bool = True,
    report: bool = True,
    progress: bool = True,
    tell: Tell,
) -> Iterator[CompleteRun]:
    """Run scenarios one after another; all of them are checked before the first one runs.

    Each has a folder of its own in `out` where there are several. `tell` is called with what to know before the runs
    start. ScenarioError, before anything runs, for a scenario that cannot be used.
    """
    prepared = prepare_runs(scenarios, options)
    for note in (note for item in prepared for note in item.notes):
        tell(note)
    where = Store(store or default_root())
    for item in prepared:
        name = item.about.name
        with run_folder(out / name if out is not None and len(prepared) > 1 else out, name) as directory:
            yield complete_run(
                item,
                directory,
                where,
                options,
                lambda: progress_display(quiet=not progress),
                history=history_path(item.about.root) if history else None,
                report=report,
            )


def run(
    scenario: Scenario | Path | str,
    *,
    out: Path | str | None = None,
    select: Select | Sequence[str] | str | None = None,
    jobs: int | None = None,
    isolation: Isolation = "process",
    download: bool = False,
    store: Path | str | None = None,
    history: bool = False,
    report: bool = True,
    progress: bool = False,
) -> RunResults:
    """Run a scenario, as `harness run` does: train, quantize, build, measure, judge, report.

    Failed variants are rows with `status` `failed`, and broken gates are in `gates`: neither raises. What could not be
    written after the record (history, report), and which networks cannot be used, is a Python warning.

    Args:
        scenario: a file, or what `load_scenario` returns.
        out: folder for the results, which must not hold a run; None for a new one, `reports/RUN-ID/` with the
            `run_id` of the results.
        select: which variants to run, as a function or as `--select` takes them: globs on the id, or
            `AXIS=VALUE[,VALUE]`, all of which must match. The FP32 row of a chosen variant always runs.
        jobs: stages at once; None for one per core, at most 4.
        isolation: `process` for stages in processes of their own; `none` for this one, for debuggers.
        download: whether data sets may be fetched from the network.
        store: folder of the artifacts that runs share; None for `$HARNESS_STORE`, else the user's cache.
        history: whether to append the run to the history.
        report: whether to write `report.html`, `report.md` and `results.csv`.
        progress: whether to show progress.

    Raises ScenarioError with the place in the file for a scenario that cannot be used, UsageError for arguments that
    make no sense.
    """
    chosen = select if callable(select) or select is None else selector([select] if isinstance(select, str) else select)
    options = run_options(jobs=jobs, isolation=isolation, download=download, select=chosen)
    loaded = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    (done,) = run_all(
        [loaded],
        options,
        out=None if out is None else Path(out),
        store=None if store is None else Path(store),
        history=history,
        report=report,
        progress=progress,
        tell=lambda note: warnings.warn(note, stacklevel=2),
    )
    for problem in done.problems:
        warnings.warn(f"the run is complete, its record is in {done.directory}, but: {problem}", stacklevel=2)
    return done.results


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
