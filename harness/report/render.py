"""From the record of a run to `report.html`, `report.md` and `results.csv`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from harness.errors import UsageError
from harness.figures import header, heading
from harness.paths import replace_text
from harness.report import (
    accuracy_tables,
    check_tables,
    choice_tables,
    data_tables,
    figures,
    load_tables,
    markdown,
    parity_tables,
    resource_tables,
    tables,
    throughput_tables,
)
from harness.report.definitions import definitions
from harness.report.flat import csv_text
from harness.report.variants import TOO_FEW, Group, groups
from harness.results import RunResults
from harness.words.choice import choice_title
from harness.words.phrases import counted, level

TEMPLATES = Path(__file__).parent / "templates"
_UNBROKEN = re.compile(r"(?<=\d) (?=(?:ms|%|KiB|MiB|points)(?!\w)|±)|(?<=±) |(?<=p) (?=[=<] )|(?<=p [=<]) ")
_SAMPLE_FILES = ("predictions", "top_classes", "metric_states", "latency_samples")


class Plot(NamedTuple):
    """An SVG element and the sentence beneath it."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Details:
    """A table of the second half of the page, behind a heading."""

    heading: str
    table: tables.Table
    is_folded: bool = False
    """Rarely read: shown on request."""
    is_short: bool = True
    """Does not grow with the number of variants: also in the Markdown."""


def render(results: RunResults, directory: Path) -> list[Path]:
    """Write `report.html`, `report.md` and `results.csv` into `directory`, made if missing, and return their paths.

    Only the record decides what they say: the same record gives the same bytes. UsageError where they cannot be
    written.
    """
    texts = {
        "report.html": html_text(results),
        "report.md": markdown_text(results),
        "results.csv": csv_text(results),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            replace_text(directory / name, text)
    except OSError as error:
        fix = f"free some space or check the rights, then `harness report {directory}`: the record is safe"
        raise UsageError(f"cannot write the report into {directory}: {error.strerror}", fix=fix) from error
    return [directory / name for name in texts]


def html_text(results: RunResults) -> str:
    """The page: self-contained, without scripts and without network."""
    shown = groups(results)
    plots = {group.key: _plots(group, results.confidence) for group in shown}
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    template = _environment().get_template("report.html.j2")
    return template.render(style=style, plots=plots, **_context(results, shown))


def markdown_text(results: RunResults) -> str:
    """The same report as Markdown, without plots."""
    template = _environment().get_template("report.md.j2")
    return template.render(**_context(results, groups(results)))


def _context(results: RunResults, shown: tuple[Group, ...]) -> dict[str, Any]:
    return {
        "results": results,
        "groups": shown,
        "choices": [(choice_title(found), *found.text.splitlines()) for found in results.choices],
        "details": _details(results),
        "definitions": definitions(results),
        "summary": _summary(results),
        "too_few": TOO_FEW,
        "level": level(results.confidence),
        "wall": tables.seconds(results.wall_s),
        "samples": _sample_files(results),
    }


def _details(results: RunResults) -> list[Details]:
    found = [
        ("Engines compared", choice_tables.choices_table(results), "shown"),
        ("Throughput", throughput_tables.throughput_table(results), "shown"),
        ("Gates", tables.gates_table(results), "shown"),
        ("Top-5", accuracy_tables.top5_table(results), "shown"),
        ("QAT seeds", accuracy_tables.seeds_table(results), "shown"),
        ("Classes that lose", accuracy_tables.proven_classes_table(results), "shown"),
        ("Largest losses of recall", accuracy_tables.classes_table(results), "folded long"),
        ("Corrected p-values", accuracy_tables.corrected_table(results), "long"),
        ("Latency", tables.latency_table(results), "long"),
        ("Further figures", tables.metrics_table(results), "shown"),
        ("Load scenarios", load_tables.load_table(results), "shown"),
        ("LoadGen's accuracy mode", load_tables.load_accuracy_table(results), "shown"),
        ("Data", data_tables.data_table(results), "shown"),
        ("How the data was read", data_tables.reading_table(results), "shown"),
        ("Layers not running in INT8", tables.not_int8_table(results), "shown"),
        ("Energy", resource_tables.energy_table(results), "shown"),
        ("Memory", resource_tables.memory_table(results), "folded"),
        ("Where accuracy is lost", parity_tables.losses_table(results), "shown"),
        ("Layers at fault", parity_tables.faults_table(results), "shown"),
        ("Steps checked", check_tables.checks_table(results), "folded"),
        ("Parity", parity_tables.chain_table(results), "long"),
        ("Parity of layers", parity_tables.layers_table(results), "folded long"),
        ("Cost", tables.stage_summary_table(results), "shown"),
        ("Cost per variant", tables.cost_table(results), "long"),
        ("Stages", tables.stages_table(results), "long"),
        ("Environment", tables.environment_table(results), "folded"),
    ]
    return [
        Details(heading, table, is_folded=kind != "shown", is_short="long" not in kind)
        for heading, table, kind in found
        if table is not None
    ]


def _summary(results: RunResults) -> str:
    """How many rows there are, and how many of each status other than `ok`."""
    rows = results.rows
    others = ("simulated", "built", "unavailable", "failed")
    counts = [(status, sum(row.status == status for row in rows)) for status in others]
    parts = [f"{number} {status}" for status, number in counts if number]
    return counted(len(rows), "variant") + (f" ({', '.join(parts)})" if parts else "")


def _plots(group: Group, confidence: float) -> list[Plot]:
    """The plots that the group's figures allow; the bars of latency only where there is no accuracy to plot it with."""
    bars = f"Bars: {level(confidence)} interval of the paired difference to FP32"
    both = figures.accuracy_latency(group.rows, f"{group.key}-both")
    found = [
        (both, f"Up and to the left is better. {bars}, laid around FP32's top-1."),
        (figures.drops(group.rows, f"{group.key}-drop"), f"Shaded: within the margin; right of it is worse. {bars}."),
        (None if both else figures.latencies(group.rows, f"{group.key}-latency"), "Shorter is faster."),
    ]
    return [_plot(svg, caption) for svg, caption in found if svg]


def _plot(svg: str, caption: str) -> Plot:
    # Matplotlib escapes every text that it writes; nothing else is put into the SVG.
    return Plot(Markup(svg), caption)  # noqa: S704


def _sample_files(results: RunResults) -> list[str]:
    """Where the run left what every statistic can be recomputed from."""
    return sorted({row.files[kind] for row in results.rows for kind in _SAMPLE_FILES if kind in row.files})


def _moment(text: str) -> str:
    """An ISO 8601 time to the minute, as it is where it is not one."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"header": header, "heading": heading}
    environment.filters["unbroken"] = lambda text: _UNBROKEN.sub("\N{NO-BREAK SPACE}", text)
    environment.filters["moment"] = _moment
    environment.filters["md"] = markdown.escaped
    environment.filters["md_table"] = markdown.pipe_table
    environment.filters["md_variants"] = markdown.variants_table
    return environment
