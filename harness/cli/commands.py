"""The command `harness`. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.boundary import run_guarded
from harness.cli import compare as cli_compare
from harness.cli import engines as cli_engines
from harness.cli import history as cli_history
from harness.cli import init as cli_init
from harness.cli import nightly as cli_nightly
from harness.cli import ship as cli_ship
from harness.cli.output import output_width, print_tables, say
from harness.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_OK,
    EXIT_USAGE,
    EXIT_VARIANT_FAILED,
    most_severe,
)
from harness.text import visible_json
from harness.version import __version__

if TYPE_CHECKING:
    from harness.results import Gate, Row, Variant
    from harness.results.sensitivity import SensitivityRecord
    from harness.runs.complete import CompleteRun

app = typer.Typer(
    help="Which quantized network to ship: PTQ and QAT variants, measured and judged on their deployment target.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Scenarios = Annotated[list[Path], typer.Argument(help="Scenario files (YAML).", show_default=False)]
Select = Annotated[
    list[str] | None,
    typer.Option(
        help="Run only variants that match: a glob on the id, or AXIS=VALUE[,VALUE]. May be repeated; all must match.",
    ),
]


def main() -> None:
    """Entry point for callers in Python; `harness.__main__` is that of the command."""
    sys.exit(run_guarded(lambda: app(standalone_mode=False)))


def _version(value: bool) -> None:
    if value:
        say(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    scenarios: Scenarios,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. Default: reports/RUN-ID/.")] = None,
    select: Select = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Stages at once. Default: one per core, at most 4.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow data sets to be fetched from the network.")
    ] = False,
    isolation: Annotated[
        str, typer.Option(help="`process`: stages run in processes of their own; `none`: in this one, for debuggers.")
    ] = "process",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 when a gate is neither proven kept nor proven broken.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--history/--no-history", help="Append the run to the history, for `harness history`.")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the decisions as JSON, a line per scenario; the rest goes to stderr."),
    ] = False,
) -> None:
    """Run scenarios: train, quantize, build, measure, judge, report."""
    from harness.runs.complete import run_all, run_options
    from harness.scenario import load_scenario

    options = run_options(jobs=jobs, isolation=isolation, download=download, select=_selector(select))
    loaded = [load_scenario(path) for path in scenarios]
    exit_codes = []
    for done in run_all(loaded, options, out=out, history=keep, progress=not quiet, tell=_tell):
        if done.not_kept is not None:
            _tell(f"not in the history: {done.not_kept}")
        if done.not_reported is not None:
            _tell(f"harness: {done.not_reported}")
            exit_codes.append(done.not_reported.exit_code)
        exit_codes.append(print_summary(done, strict=strict, as_json=as_json))
    raise typer.Exit(most_severe(exit_codes))


@app.command(name="list")
def list_variants(scenarios: Scenarios, select: Select = None) -> None:
    """List the variants of scenarios, and which of them can run on this machine.

    Networks are built, in a process of their own, and nothing runs through them. Exit code 3: some cannot be built;
    2: none can.
    """
    from harness.cli.listing import listed_variants
    from harness.runs.networks import describe_networks
    from harness.runs.registries import check_registries
    from harness.runs.selection import selected
    from harness.scenario import expand, load_scenario

    wanted = _selector(select)
    broken = []
    for number, path in enumerate(scenarios):
        scenario = load_scenario(path)
        plugins = check_registries(scenario)
        with plugins.active():
            scenario = plugins.with_settings(scenario)
            variants = selected(expand(scenario), wanted)
            reasons = describe_networks(scenario, None).reasons
            states = []
            for variant in variants:
                reason = reasons.get(variant.model)
                states.append((variant.id, _on_this_machine(variant) if reason is None else f"fail: {reason}"))
                broken.append(reason is not None)
        title = f"{scenario.name} ({path}): {len(variants)} variants"
        if number:
            say()
        for line in listed_variants(title, states, output_width()):
            say(line)
    raise typer.Exit(EXIT_OK if not any(broken) else EXIT_USAGE if all(broken) else EXIT_VARIANT_FAILED)


def _on_this_machine(variant: Variant) -> str:
    """What can be done with a variant whose network can be used."""
    from harness.runs.availability import unavailable_reason
    from harness.targets import get_target

    reason, target = unavailable_reason(variant), get_target(variant.target)
    if reason is not None:
        return f"unavailable: {reason}"
    if not target.is_deployable(variant):
        return "simulated: no engine runs these numbers as integers"
    not_run = target.cannot_run(target.build_options(variant, 1))
    return f"built, not run: {not_run}" if not_run else "run on this machine"


@app.command()
def report(runs: Annotated[list[Path], typer.Argument(help="Run folders, or their results.json.")]) -> None:
    """Render report.html, report.md and results.csv again from results.json."""
    from harness.comparison.sources import load_results
    from harness.report import render

    for path in runs:
        for written in render(load_results(path), path if path.is_dir() else path.parent):
            say(written)


@app.command()
def sensitivity(
    scenario: Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Only this model. Default: all.")] = None,
    target: Annotated[str | None, typer.Option(help="Only this target. Default: all.")] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Largest loss of top-1, in points. Default: the scenario's `verdict.accuracy_margin`."),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Layers whose accuracy is judged, most sensitive first.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: reports/NAME-sensitivity-TIME/.")
    ] = None,
    select: Select = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Stages at once. Default: one per core, at most 4.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow data sets to be fetched from the network.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")] = False,
) -> None:
    """Rank layers by what quantizing each alone costs, and find a small skip set that meets an accuracy budget."""
    from harness.engine.progress import progress_display
    from harness.engine.store import Store, default_root
    from harness.report.sensitivity import render_sensitivity
    from harness.runs.complete import run_folder, run_options
    from harness.runs.preparation import prepare_run
    from harness.runs.sensitivity import SensitivityOptions, analyse, check_choice, keep, plan_analyses
    from harness.scenario import load_scenario

    options = SensitivityOptions(budget=None if budget is None else budget / 100, top=top)
    loaded = load_scenario(scenario)
    check_choice(loaded, model=model, target=target, budget=budget)
    chosen = [f"{axis}={name}" for axis, name in (("model", model), ("target", target)) if name is not None]
    how = run_options(jobs=jobs, download=download, select=_selector([*(select or []), *chosen]))
    prepared = prepare_run(loaded, how)
    for note in prepared.notes:
        _tell(note)
    plan_analyses(prepared, options)
    display = lambda: progress_display(quiet=quiet)  # noqa: E731
    with run_folder(out, f"{loaded.name}-sensitivity") as directory:
        store = Store(default_root())
        record = keep(analyse(prepared, store, how, options, display), loaded, directory, store)
        written = render_sensitivity(record, directory)
    raise typer.Exit(_print_sensitivity(record, written))


@app.command()
def schema() -> None:
    """Print the JSON schema of scenario files, which editors complete and check with.

    `harness init` writes it beside the scenario. After an update: `harness schema > scenarios/scenario.schema.json`.
    """
    from harness.scenario.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@app.command()
def doctor() -> None:
    """Check this machine: what works and, for what does not, the one command that fixes it."""
    from harness.cli.listing import diagnosis_lines
    from harness.runs.doctor import diagnose

    found = list(diagnose())
    for line in diagnosis_lines(found, output_width()):
        say(line)
    broken = any(finding.is_required_and_missing for finding in found)
    raise typer.Exit(EXIT_USAGE if broken else EXIT_OK)


app.command()(cli_engines.build)
app.command()(cli_engines.audit)
app.command()(cli_compare.compare)
app.command()(cli_ship.ship)
app.command()(cli_nightly.nightly)
app.command(name="init")(cli_init.init)
app.add_typer(cli_compare.baseline, name="baseline")
app.add_typer(cli_history.history, name="history")


def _tell(message: str) -> None:
    say(message, err=True)


def _selector(expressions: Sequence[str] | None) -> Callable[[Variant], bool] | None:
    from harness.scenario.select import selector

    return selector(expressions)


def _print_sensitivity(record: SensitivityRecord, written: Path) -> int:
    """Tables, the skip sets and their files; the exit code."""
    from harness.report.sensitivity import accuracy_table, conclusion, layer_costs_table

    for analysis in record.analyses:
        print_tables((layer_costs_table(analysis), accuracy_table(analysis)))
        say(conclusion(analysis))
        if analysis.fragment is not None:
            say((written.parent / analysis.fragment).read_text(encoding="utf-8"))
    for failure in record.failures:
        say(f"\nfailed: {failure.variant_id}\n  {failure.reason}", err=True)
    say(f"report: {written}")
    if record.failures:
        return EXIT_VARIANT_FAILED
    return EXIT_OK if all(analysis.meets_budget for analysis in record.analyses) else EXIT_INCONCLUSIVE


def print_summary(done: CompleteRun, *, strict: bool, as_json: bool) -> int:
    """Rows, decisions, failures, gates that do not pass and the report's place; the exit code."""
    from harness.cli.summary import failures, rows_table, without_figures
    from harness.comparison.gates import gate_messages, worst_exit_code
    from harness.words.decision import decision_lines

    results = done.results
    if as_json:
        plain = {"run": results.run_id, "decisions": [found.plain() for found in results.decisions]}
        typer.echo(visible_json(json.dumps(plain, ensure_ascii=False)))
    width = output_width()
    for line in (*rows_table(results, width), *without_figures(results.rows, width), *decision_lines(results, width)):
        say(line, err=as_json)
    for warning in results.warnings:
        say(f"\nwarning: {warning}", err=True)
    for failure in failures(results.rows):
        say(f"\n{failure}", err=True)
    failed = any(row.status == "failed" for row in results.rows)
    for message in gate_messages(results.gates):
        say(f"\n{message}", err=True)
    html = next((path for path in done.written if path.suffix == ".html"), done.directory)
    gates = f", {_gate_counts(results.gates)}" if results.gates else ""
    say(f"\n{_counts(results.rows)}{gates} in {results.wall_s:.0f} s\nreport: {html}", err=as_json)
    return most_severe([worst_exit_code(results.gates, strict=strict), EXIT_VARIANT_FAILED if failed else EXIT_OK])


def _counts(rows: Sequence[Row]) -> str:
    statuses = [row.status for row in rows]
    parts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)]
    return f"{len(rows)} variants ({', '.join(parts)})"


def _gate_counts(gates: Sequence[Gate]) -> str:
    verdicts = [gate.verdict for gate in gates]
    parts = [f"{verdicts.count(verdict)} {verdict}" for verdict in ("pass", "fail", "inconclusive")]
    return f"gates: {', '.join(part for part in parts if not part.startswith('0 '))}"


if __name__ == "__main__":
    main()
