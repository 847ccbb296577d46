"""The command `harness nightly`: what a scheduled job and `tox -e nightly` run, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import say
from harness.errors import EXIT_GATE_FAILED, UsageError

if TYPE_CHECKING:
    from harness.runs.nightly import NightlyRun

_SCENARIOS = Path("scenarios")


def nightly(
    scenarios: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files, or folders of them. Default: scenarios/.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. Default: reports/nightly-TIME/.")] = None,
    baselines: Annotated[Path | None, typer.Option(help="Folder of the baselines. Default: baselines/.")] = None,
    first: Annotated[
        bool, typer.Option("--first", help="Save the baseline of scenarios that have none for this machine.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Stages at once. Default: one per core, at most 4.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow data sets to be fetched from the network.")
    ] = False,
    isolation: Annotated[str, typer.Option(help="`process` or `none`, as in `harness run`.")] = "process",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 when anything is undecided.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")] = False,
) -> None:
    """Run all scenarios, append to the history, judge gates, compare with the baselines, report.

    Exit code 0: nothing is proven worse; 1: a gate is broken or a regression proven; 2: bad input; 3: a variant failed,
    as it did in the baseline or without one; 4: undecided, with --strict.
    """
    from harness.engine.progress import progress_display
    from harness.engine.store import Store, default_root
    from harness.runs.complete import run_options
    from harness.runs.nightly import Project, prepare_files, run_nightly, scenario_files

    options = run_options(jobs=jobs, isolation=isolation, download=download)
    files = scenario_files(scenarios or [_SCENARIOS])
    prepared = prepare_files(files, options)
    for note in (note for item in prepared for note in item.notes):
        say(note, err=True)
    project = Project.at(prepared[0].about.root, baselines)
    with _folder(out, project.root) as directory:
        nightly = run_nightly(
            prepared,
            files,
            project,
            directory,
            Store(default_root()),
            options,
            lambda: progress_display(quiet=quiet),
            save_missing=first,
        )
        _write(nightly)
    exit_code = nightly.exit_code(strict=strict)
    for message in nightly_messages(nightly):
        say(message, err=exit_code == EXIT_GATE_FAILED and message.startswith(("regression", "gate", "failed")))
    say(f"{_outcome(nightly)}\nreport: {nightly.directory / 'nightly.md'}")
    raise typer.Exit(exit_code)


def nightly_messages(nightly: NightlyRun, *, changes: bool = True) -> Iterator[str]:
    """One line or block for everything that a reader has to know, the most severe first.

    Without `changes`, what the comparison found is left out: its own section has it.
    """
    from harness.comparison.gates import gate_messages
    from harness.report.comparison import change_messages
    from harness.report.history import step_messages
    from harness.words.phrases import within

    status_changes = () if nightly.comparison is None else nightly.comparison.status_changes
    told = {(change.scenario, change.variant) for change in status_changes}
    if nightly.comparison is not None and changes:
        yield from change_messages(nightly.comparison)
    for run in nightly.runs:
        scenario = run.scenario if len(nightly.runs) > 1 else None
        failed = [row for row in run.rows if row.status == "failed" and (run.scenario, row.variant.id) not in told]
        yield from (f"failed: {within(scenario)}{row.variant.id}: {row.reason}" for row in failed)
        yield from gate_messages(run.gates, scenario)
    from harness.runs.nightly import recent_steps

    yield from (f"lasting step, {kind}: {text}" for kind, text in step_messages(recent_steps(nightly)))
    yield from (f"not compared ({', '.join(each.affects)}): {each.text}" for each in nightly.not_compared)
    yield from nightly.not_written
    saved = {path.stem: path for path in nightly.saved}
    for name in nightly.without_baseline:
        if name in saved:
            yield f"baseline saved, commit it: {saved[name]}"
        else:
            yield f"no baseline of {name} for this machine: only its gates were judged; `--first` saves one"


def _outcome(nightly: NightlyRun) -> str:
    from harness.report.comparison import comparison_headline
    from harness.words.changes import comparison_summary
    from harness.words.phrases import counted

    rows = sum(len(run.rows) for run in nightly.runs)
    gates = [gate.verdict for run in nightly.runs for gate in run.gates]
    parts = [f"{counted(len(nightly.runs), 'scenario')}, {counted(rows, 'variant')}"]
    parts += [f"gates: {gates.count('pass')} of {len(gates)} pass"] if gates else []
    if nightly.comparison is not None:
        parts.append(f"{comparison_headline(nightly.comparison)}: {comparison_summary(nightly.comparison)}")
    return "; ".join(parts)


def _write(nightly: NightlyRun) -> None:
    """`nightly.md` for a job's summary, `comparison.json`, and the page of the history."""
    from harness.cli.output import write_text
    from harness.report.history import html_text
    from harness.report.nightly import nightly_text

    runs = [(folder.name, run) for folder, run in zip(nightly.folders, nightly.runs, strict=True)]
    messages = nightly_messages(nightly, changes=False)
    text = nightly_text(_outcome(nightly), messages, runs, nightly.trends, nightly.comparison)
    if nightly.comparison is not None:
        write_text(nightly.directory / "comparison.json", nightly.comparison.model_dump_json(indent=2) + "\n")
    write_text(nightly.directory / "nightly.md", text)
    write_text(nightly.directory / "history.html", html_text(nightly.trends))


@contextmanager
def _folder(out: Path | None, root: Path) -> Iterator[Path]:
    """A new, empty folder for the nightly run."""
    from harness.results.run_folder import CLAIM, given_folder, new_folder

    if out is None:
        with new_folder(root / "reports" / f"nightly-{datetime.now(UTC):%Y%m%d-%H%M%S}") as directory:
            yield directory
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not an empty folder", fix="choose another --out, or remove it")
    with given_folder(out) as directory:
        if any(each.name != CLAIM for each in directory.iterdir()):
            raise UsageError(f"{out} is not an empty folder", fix="choose another --out, or remove it")
        yield directory
