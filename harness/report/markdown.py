"""The report as Markdown: the same figures as the page, for terminals, reviews and chat."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.report.tables import Table
from harness.report.variants import NONE, Figure, Group, VariantLine

_SPECIAL = re.compile(r"([\\`*\[\]|#~])")
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


def escaped(text: object) -> str:
    """Text on one line that Markdown shows as it is: no markup, no HTML, no end of a table cell."""
    one_line = " ".join(str(text).split())
    plain = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _EMPHASIS.sub(r"\\_", _SPECIAL.sub(r"\\\1", plain))


def table(content: Table) -> str:
    """A pipe table without its caption."""
    alignments = ["--:" if column in content.numeric else "---" for column in range(len(content.headings))]
    lines = [content.headings, tuple(alignments), *content.rows]
    return "\n".join(
        "| " + " | ".join(cells if number == 1 else map(escaped, cells)) + " |" for number, cells in enumerate(lines)
    )


def variants_table(group: Group) -> Table:
    """The variants of one group in the columns for which it has figures."""
    headings, numeric = _headings(group)
    return Table(group.title, tuple(headings), tuple(tuple(_cells(group, line)) for line in group.lines), numeric)


def _headings(group: Group) -> tuple[list[str], frozenset[int]]:
    headings = ["Variant"]
    if group.has_accuracy:
        headings += ["Top-1", "Drop, points", "Accuracy", "Agreement"]
    if group.has_unlabelled:
        headings += ["Agreement"]
    if group.has_latency:
        headings += ["Median, ms", "p90", "p99", "Speedup", "Latency"]
    if group.has_size:
        headings += ["ONNX", "Engine", "Weights"]
    if group.has_coverage:
        headings += ["INT8 MACs"]
    words = {"Accuracy", "Latency", "Variant"}
    numeric = frozenset(index for index, heading in enumerate(headings) if heading not in words)
    return [*headings, "Status"], numeric


def _cells(group: Group, line: VariantLine) -> Sequence[str]:
    star = " (recommended)" if line.is_recommended else ""
    cells = [f"{line.method} {line.name}".strip() + star]
    if group.has_accuracy:
        verdict = line.accuracy_badge.word if line.accuracy_badge else NONE
        cells += [line.top1.value, _with_interval(line.drop), verdict, line.agreement]
    if group.has_unlabelled:
        cells += [_with_interval(line.unlabelled)]
    if group.has_latency:
        verdict = line.latency_badge.word if line.latency_badge else NONE
        cells += [line.median, line.p90, line.p99, _with_interval(line.speedup), verdict]
    if group.has_size:
        cells += [line.onnx, line.engine, line.weights]
    if group.has_coverage:
        cells += [line.int8_macs]
    return [*cells, f"{line.status}: {line.reason}" if line.reason else line.status]


def _with_interval(figure: Figure) -> str:
    return f"{figure.value} ({figure.interval})" if figure.interval else figure.value
