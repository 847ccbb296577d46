"""The commands `harness compare` and `harness baseline`: is a run worse than what was there before?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import print_tables, say, write_text
from harness.errors import EXIT_GATE_FAILED, UsageError, shortened
from harness.paths import file_name_problem, require_inside

if TYPE_CHECKING:
    from harness.results.comparison import Comparison

_STDOUT = Path("-")

baseline = typer.Typer(help="Baselines: what later runs are compared with.", no_args_is_help=True)


@baseline.callback()
def _group() -> None:
    """Baselines: what later runs are compared with."""


@baseline.command()
def save(
    run: Annotated[Path, typer.Argument(help="Run folder, its results.json, or a folder of runs.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name of the file. Default: the scenario's.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder. Default: baselines/MACHINE-CLASS/.")] = None,
) -> None:
    """Save what later runs are compared with, as a small JSON file to commit."""
    from harness.comparison.baseline import FOLDER, baseline_path, save_baseline
    from harness.comparison.sources import read_side

    found = read_side(run)
    if name is not None and len(found) > 1:
        raise UsageError(f"--name names one file, but {run} holds {len(found)} scenarios", fix="leave --name out")
    if name is not None and (problem := file_name_problem(name)) is not None:
        raise UsageError(f"`{shortened(name)}` {problem}", fix="give the folder with --to")
    for scenario, snapshot in found.items():
        file_name = (name or scenario).removesuffix(".json")
        environment = snapshot.results.environment
        path = baseline_path(Path(FOLDER), environment, file_name)
        if to is not None:
            path = to / path.name
        folder = to or Path(FOLDER)
        require_inside(path.parent, folder)
        word = "replaced" if os.path.lexists(path) else "written"
        try:
            save_baseline(snapshot, path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}", fix="choose another --to") from None
        failed = [row.variant.id for row in snapshot.results.rows if row.status == "failed"]
        for variant in failed:
            say(f"{variant} failed in this run; the baseline says so", err=True)
        say(f"{word}: {path} ({path.stat().st_size / 1024:.0f} KiB, {len(snapshot.rows)} variants)")


def compare(
    base: Annotated[Path, typer.Argument(help="Baseline file, run, or a folder of them.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="Run to judge, or a folder of runs.", show_default=False)],
    only: Annotated[
        str | None, typer.Option(help="Judge only these, with commas: accuracy, latency, size, coverage, parity, …")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="Judge only variants that match, as in `harness run`. May be repeated; all must match."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare although machine, software or data forbid it.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 when a figure is undecided.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull-request comment; `-` is the standard output.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the comparison as JSON; `-` is the standard output.")] = None,
) -> None:
    """Compare a run with a baseline or another run; exit 1 only when a regression is proven."""
    from harness.comparison import compare as comparing
    from harness.report.comparison import markdown_text

    sections = [part.strip() for part in only.split(",")] if only else ()
    comparison = comparing.compare(base, new, only=sections, select=select or (), force=force)
    if _STDOUT not in (markdown, json):
        _print(comparison)
    if markdown is not None:
        _write(markdown, markdown_text(comparison))
    if json is not None:
        _write(json, comparison.model_dump_json(indent=2) + "\n")
    raise typer.Exit(comparison.exit_code(strict=strict))


def _print(comparison: Comparison) -> None:
    from harness.report.comparison import change_messages, changes_table, comparison_headline, conditions_table
    from harness.words.changes import comparison_summary

    shown = changes_table(comparison, ("worse", "inconclusive", "better"))
    print_tables((shown, conditions_table(comparison)))
    for message in change_messages(comparison):
        say(message, err=message.startswith("regression"))
    say(f"{comparison_headline(comparison)}: {comparison_summary(comparison)}")
    if comparison.exit_code() == EXIT_GATE_FAILED and comparison.is_forced:
        say("--force compared figures whose conditions forbid it", err=True)


def _write(path: Path, text: str) -> None:
    if path == _STDOUT:
        say(text, nl=False)
    else:
        write_text(path, text)
