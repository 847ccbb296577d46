"""From the record of a run to `report.html`, `report.md` and `results.csv`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from harness.errors import UsageError
from harness.figures import header, heading
from harness.paths import replace_text
from harness.report import (
    accuracy_tables,
    check_tables,
    choice_tables,
    data_tables,
    load_tables,
    markdown,
    parity_tables,
    resource_tables,
    tables,
    throughput_tables,
)
from harness.report.charts import Choice
from harness.report.definitions import definitions
from harness.report.explorer import choosers
from harness.report.flat import csv_text
from harness.report.group_charts import group_charts
from harness.report.layer_views import legend
from harness.report.page import environment, page_parts
from harness.report.variants import TOO_FEW, Group, address, groups
from harness.results import RunResults
from harness.words.decision import decision_title, decisions_of
from harness.words.phrases import counted, level

_UNBROKEN = re.compile(r"(?<=\d) (?=(?:ms|%|KiB|MiB|points)(?!\w)|±)|(?<=±) |(?<=p) (?=[=<] )|(?<=p [=<]) ")
_SAMPLE_FILES = ("predictions", "top_classes", "metric_states", "latency_samples")


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
    """The page: self-contained and without network; the only scripts are those of this package."""
    shown = groups(results)
    charts = {group.key: group_charts(group.rows, group.key, results.confidence) for group in shown}
    found = choosers(results, shown)
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            lines=[line for group in shown for line in group.lines],
            has={name: any(getattr(group, name) for group in shown) for name in _COLUMNS},
            shown_columns=_telling(shown),
            filters=_filters(shown),
            charts=charts,
            choosers=found,
            precisions=legend(),
            **page_parts([chart for each in charts.values() for chart in each], found),
            **_context(results, shown),
        )
    )


_COLUMNS = ("has_accuracy", "has_unlabelled", "has_latency", "has_share_of_peak", "has_size", "has_coverage")


def _values(shown: tuple[Group, ...]) -> dict[str, list[str]]:
    """What columns of words hold, each once, in the order of the columns behind the variant's name."""
    lines = [line for group in shown for line in group.lines]
    found = {
        "Model": [line.model for line in lines],
        "Method": [line.method for line in lines],
        "Target": [line.place for line in lines],
        "Batch": [str(line.batch_size) for line in lines],
        "Status": [line.status for line in lines],
        "Accuracy": [line.accuracy_badge.word for line in lines if line.accuracy_badge],
        "Latency": [line.latency_badge.word for line in lines if line.latency_badge],
    }
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}


_VERDICTS = ("Accuracy", "Latency")


def _telling(shown: tuple[Group, ...]) -> frozenset[str]:
    """Columns that tell rows apart, the others would take the room of figures. The method begins the variant's name."""
    found = {name for name, values in _values(shown).items() if len(values) > (name not in _VERDICTS)}
    return frozenset(found - {"Method"})


def _filters(shown: tuple[Group, ...]) -> list[tuple[str, int, list[str]]]:
    """Name, number of the column in the table of variants, and what there is to choose from."""
    return [(name, place, values) for place, (name, values) in enumerate(_values(shown).items(), start=1)]


def markdown_text(results: RunResults) -> str:
    """The same report as Markdown, without plots."""
    template = _templates().get_template("report.md.j2")
    return template.render(**_context(results, groups(results)))


def _context(results: RunResults, shown: tuple[Group, ...]) -> dict[str, Any]:
    return {
        "results": results,
        "groups": shown,
        "decisions": [(decision_title(found), found) for found in decisions_of(results)],
        "doubts": f"{counted(len(results.warnings), 'warning')} below may put it in doubt",
        "gates": _gates(results),
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
        ("Throughput over streams", throughput_tables.streams_table(results), "shown"),
        ("Top-5", accuracy_tables.top5_table(results), "shown"),
        ("QAT seeds", accuracy_tables.seeds_table(results), "shown"),
        ("Classes that lose", accuracy_tables.proven_classes_table(results), "shown"),
        ("Largest losses of recall", accuracy_tables.classes_table(results), "folded long"),
        ("Corrected p-values", accuracy_tables.corrected_table(results), "long"),
        ("Latency", tables.latency_table(results), "long"),
        ("Further figures", tables.metrics_table(results), "shown"),
        ("Load scenarios", load_tables.load_table(results), "shown"),
        ("LoadGen's accuracy mode", load_tables.load_accuracy_table(results), "shown"),
        ("Data", data_tables.data_table(results), "folded"),
        ("How the data was read", data_tables.reading_table(results), "folded"),
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
    return _present(found)


def _gates(results: RunResults) -> list[Details]:
    passed = sum(gate.verdict == "pass" for gate in results.gates)
    return _present(
        [
            ("Gates", tables.gates_table(results, passed=False), "shown"),
            (f"{counted(passed, 'gate')} passed", tables.gates_table(results, passed=True), "folded"),
        ]
    )


def _present(found: list[tuple[str, tables.Table | None, str]]) -> list[Details]:
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


def _sample_files(results: RunResults) -> list[str]:
    """Where the run left what every statistic can be recomputed from."""
    return sorted({row.files[kind] for row in results.rows for kind in _SAMPLE_FILES if kind in row.files})


def _moment(text: str) -> str:
    """An ISO 8601 time to the minute, as it is where it is not one."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text


def _by_group(choices: tuple[Choice, ...]) -> list[tuple[str, list[tuple[int, Choice]]]]:
    """Choices with their numbers, those of one group together."""
    found: dict[str, list[tuple[int, Choice]]] = {}
    for place, choice in enumerate(choices):
        found.setdefault(choice.group, []).append((place, choice))
    return list(found.items())


@cache
def _templates() -> Environment:
    found = environment()
    found.globals |= {"header": header, "heading": heading}
    found.filters |= {
        "unbroken": lambda text: _UNBROKEN.sub("\N{NO-BREAK SPACE}", text),
        "moment": _moment,
        "address": address,
        "groups_of": _by_group,
        "md": markdown.escaped,
        "md_table": markdown.pipe_table,
        "md_variants": markdown.variants_table,
    }
    return found
