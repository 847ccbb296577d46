"""The report as Markdown: the same figures as the page, for terminals, reviews and chat."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.figures import heading
from harness.report.tables import Table
from harness.report.variants import NONE, Group, Printed, VariantLine

_SPECIAL = re.compile(r"([\\`*\[\]|#~])")
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


def escaped(text: object) -> str:
    """Text on one line that Markdown shows as it is: no markup, no HTML, no end of a table cell."""
    one_line = " ".join(str(text).split())
    plain = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _EMPHASIS.sub(r"\\_", _SPECIAL.sub(r"\\\1", plain))


def pipe_table(content: Table) -> str:
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
        headings += [heading("accuracy.top1"), heading("accuracy.drop"), "Accuracy", heading("accuracy.agreement")]
    if group.has_unlabelled:
        headings += [heading("accuracy.agreement")]
    if group.has_latency:
        headings += [heading(f"latency.{name}") for name in ("median_ms", "p90_ms", "p99_ms", "speedup")] + ["Latency"]
    if group.has_share_of_peak:
        headings += [heading("latency.share_of_peak")]
    if group.has_size:
        headings += [heading(f"size.{name}_bytes") for name in ("onnx", "engine", "weight")]
    if group.has_coverage:
        headings += [heading("coverage.int8_macs")]
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
    if group.has_share_of_peak:
        cells += [line.share_of_peak]
    if group.has_size:
        cells += [line.onnx, line.engine, line.weights]
    if group.has_coverage:
        cells += [line.int8_macs]
    return [*cells, f"{line.status}: {line.reason}" if line.reason else line.status]


def _with_interval(figure: Printed) -> str:
    return f"{figure.value} ({figure.interval})" if figure.interval else figure.value
