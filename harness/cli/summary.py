"""The end of a run on the terminal: a table of its rows, and why rows have no figures, each reason once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.cli.output import bulleted, table_lines
from harness.text import visible

if TYPE_CHECKING:
    from harness.report.variants import Group, VariantLine
    from harness.results import Row, RunResults

_HEADINGS = ("Variant", "Top-1", "Speedup", "Engine", "Verdict")
_UNLABELLED = ("Variant", "As FP32", "Speedup", "Engine", "Verdict")
_NUMERIC = frozenset({1, 2, 3})


def rows_table(results: RunResults, width: int) -> Iterator[str]:
    """Every row with accuracy, speedup, size of the engine and what both verdicts come to, in `width` columns."""
    from harness.report.variants import groups

    for group in groups(results):
        headings = _UNLABELLED if group.has_unlabelled else _HEADINGS
        yield ""
        yield from bulleted(visible(group.title), "", width)
        rows = [_cells(group, line, row) for line, row in zip(group.lines, group.rows, strict=True)]
        yield from table_lines(headings, rows, _NUMERIC, width)


def _cells(group: Group, line: VariantLine, row: Row) -> tuple[str, ...]:
    accuracy = line.unlabelled.value if group.has_unlabelled else line.top1.value
    name = visible(f"{line.method} {line.name}".strip())
    return (name, accuracy, line.speedup.value, line.engine, row_verdict(row, is_recommended=line.is_recommended))


def row_verdict(row: Row, *, is_recommended: bool) -> str:
    """What the verdicts on accuracy and latency come to; the status of a row that was not measured."""
    if row.status != "ok" or is_recommended or row.variant.method == "fp32":
        return row.status if row.status != "ok" else "recommended" if is_recommended else "reference"
    accuracy = row.accuracy.verdict if row.accuracy else None
    latency = row.latency.verdict if row.latency else None
    if accuracy == "worse":
        return "loses accuracy"
    if latency == "worse":
        return "slower"
    if "inconclusive" in (accuracy, latency):
        return "not proven"
    words = (_ACCURACY.get(accuracy or ""), _SPEED.get(latency or ""))
    return ", ".join(filter(None, words)) or "\N{EN DASH}"


_ACCURACY = {"same": "kept", "better": "kept"}
_SPEED = {"better": "faster", "same": "not faster"}


def without_figures(rows: Sequence[Row], width: int) -> Iterator[str]:
    """Why rows are not measured, each reason once with the rows that it is of; failures are told elsewhere."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.reason and row.status != "failed":
            found.setdefault((row.status, row.reason), []).append(row.variant.id)
    for (status, reason), ids in found.items():
        what = f"{len(ids)} variants" if len(ids) > 1 else ids[0]
        yield ""
        yield from bulleted(visible(f"{what} {status}: {reason}"), "", width)


def failures(rows: Sequence[Row]) -> Iterator[str]:
    """Each reason once, with the rows that failed for it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.status == "failed":
            found.setdefault(row.reason or "no reason was given", []).append(row.variant.id)
    for reason, ids in found.items():
        yield f"failed: {', '.join(ids)}\n  {reason}"
