"""The commands `harness history …`: trends of figures over all runs, and the database that they are in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harness.cli.output import print_tables, say, write_text
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.results import RunResults

_SHOW = "show"

File = Annotated[
    Path | None, typer.Option(help="Database. Default: $HARNESS_HISTORY, else reports/history.sqlite here.")
]


class _ShowIsDefault(TyperGroup):
    """`harness history SCENARIO` is `harness history show SCENARIO`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--help" not in args[:1] and (not args or args[0] not in self.commands):
            args = [_SHOW, *args]
        return super().parse_args(ctx, args)


history = typer.Typer(
    cls=_ShowIsDefault,
    help="What all runs found, over time. `harness history [SCENARIO]` shows the trends and their proven steps.",
)


@history.callback()
def _group() -> None:
    """What all runs found, over time."""


@history.command(name=_SHOW)
def show(
    scenario: Annotated[str | None, typer.Argument(help="Name of a scenario. Default: all.")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only variants whose id fits the glob. May be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Only figures whose name fits the glob, for instance `latency.*`. May be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs from this time on: a date, or days such as `30d`.")
    ] = None,
    machine_class: Annotated[str | None, typer.Option(help="Only machines of this class.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page with plots there.")] = None,
    file: File = None,
) -> None:
    """Show trends per variant and figure, and the first run and commit of each proven step."""
    from harness.history.database import entries
    from harness.history.place import history_path
    from harness.history.trends import SeriesFilter, parse_since, trends
    from harness.report.history import html_text, sections, step_messages, trends_table

    choice = SeriesFilter(
        scenario=scenario,
        variants=tuple(variant or ()),
        metrics=tuple(metric or ()),
        since=None if since is None else parse_since(since),
        machine_class=machine_class,
    )
    found = trends(entries(history_path(given=file)), choice)
    print_tables(trends_table(members, caption) for caption, members in sections(found))
    for kind, text in step_messages(found):
        say(f"{kind}: {text}")
    if not found:
        say("no run fits")
    if html is not None:
        write_text(html, html_text(found))
        say(f"page: {html}")


@history.command()
def add(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, their results.json, or folders of runs.")],
    file: File = None,
) -> None:
    """Add runs that were made before; one that is there already changes nothing."""
    from harness.history.database import append
    from harness.history.place import history_path

    path = history_path(given=file)
    found = [results for run in runs for results in _records(run)]
    added = append(path, found)
    say(f"{added} added, {len(found) - added} known: {path}")


@history.command()
def export(
    parquet: Annotated[Path, typer.Option(help="File to write, one row for each figure.", show_default=False)],
    file: File = None,
) -> None:
    """Export everything as Parquet, for other tools."""
    from harness.history.database import export_parquet
    from harness.history.place import history_path

    rows = export_parquet(history_path(given=file), parquet)
    say(f"{rows} figures: {parquet}")


def _records(path: Path) -> list[RunResults]:
    """The record of a run, or of every run in a folder: all of them, not the latest alone."""
    from harness.comparison.sources import RESULTS, read_run

    if path.is_dir() and not (path / RESULTS).is_file():
        files = sorted(path.glob(f"**/{RESULTS}"))
        if not files:
            raise UsageError(f"{path} holds no run", fix="give a folder that `harness run` wrote")
        return [read_run(file).results for file in files]
    return [read_run(path / RESULTS if path.is_dir() else path).results]
