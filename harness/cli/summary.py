"""The end of a run on the terminal: a table of its rows, and why rows have no figures, each reason once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.cli.output import bulleted, table_lines
from harness.text import visible

if TYPE_CHECKING:
    from harness.report.variants import Group, VariantLine
    from harness.results import Row, RunResults

_NUMERIC = frozenset({1, 2, 3})
_AGREEMENT = "As FP32"


def rows_table(results: RunResults, width: int) -> Iterator[str]:
    """Every row with accuracy, speedup, size of the engine and what both verdicts come to, in `width` columns."""
    from harness.report.variants import groups

    for group in groups(results):
        yield ""
        yield from bulleted(visible(group.title), "", width)
        headings = ("Variant", visible(_quality_heading(group)), "Speedup", "Engine", "Verdict")
        rows = [_cells(group, line, row) for line, row in zip(group.lines, group.rows, strict=True)]
        yield from table_lines(headings, rows, _NUMERIC, width)


def _quality_heading(group: Group) -> str:
    from harness.verdicts.quality import quality

    judged = next(filter(None, map(quality, group.rows)), None)
    return "Top-1" if group.has_accuracy else judged.name if judged else _AGREEMENT


def _cells(group: Group, line: VariantLine, row: Row) -> tuple[str, ...]:
    from harness.verdicts.quality import quality

    judged = quality(row)
    figure = f"{judged.value:.4f}" if judged else line.unlabelled.value
    shown = line.top1.value if group.has_accuracy else figure
    name = visible(f"{line.method} {line.name}".strip())
    return (name, shown, line.speedup.value, line.engine, row_verdict(row, is_recommended=line.is_recommended))


def row_verdict(row: Row, *, is_recommended: bool) -> str:
    """What the verdicts on accuracy and latency come to; the status of a row that was not measured."""
    from harness.verdicts.quality import quality
    from harness.verdicts.recommend import keeps_accuracy

    if row.status != "ok" or is_recommended or row.variant.method == "fp32":
        return row.status if row.status != "ok" else "recommended" if is_recommended else "reference"
    judged, is_kept = quality(row), keeps_accuracy(row)
    latency = row.latency.verdict if row.latency else None
    if judged and judged.verdict == "worse" and not is_kept:
        return "loses accuracy"
    if latency == "worse":
        return "slower"
    if latency == "inconclusive" or (judged and not is_kept):
        return "not proven"
    return ", ".join(filter(None, ("kept" if is_kept else "", _SPEED.get(latency or "", "")))) or "\N{EN DASH}"


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
