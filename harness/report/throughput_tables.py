"""Samples per second over batch sizes, where a scenario has several."""

from __future__ import annotations

from collections.abc import Mapping

from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Interval, Row, RunResults, Variant
from harness.words.choice import row_name

_CAPTION = (
    "Samples per second: batch size divided by its median time, and the interval of that median. The best batch has "
    "the most; others whose interval reaches its interval are named beside it. Batch sizes are timed one after the "
    "other, not in the same rounds"
)


def throughput_table(results: RunResults) -> Table | None:
    """One line per variant that was timed at several batch sizes; None without any."""
    timed: dict[Variant, dict[int, Row]] = {}
    for row in results.rows:
        if row.status == "ok" and row.latency is not None:
            same_but_batch = row.variant.model_copy(update={"id": "", "batch_size": 1})
            timed.setdefault(same_but_batch, {})[row.variant.batch_size] = row
    several = [rows for rows in timed.values() if len(rows) > 1]
    if not several:
        return None
    sizes = sorted({size for rows in several for size in rows})
    headings = ("Model", "Variant", *(f"Batch {size}" for size in sizes), "Best batch")
    lines = tuple(_line(rows, sizes) for rows in several)
    return Table(_CAPTION, headings, lines, frozenset(range(2, len(headings))))


def _line(rows: Mapping[int, Row], sizes: list[int]) -> tuple[str, ...]:
    first = next(iter(rows.values()))
    cells = (_cell(rows[size]) if size in rows else NONE for size in sizes)
    return (first.variant.model, row_name(first), *cells, " or ".join(map(str, best_batches(rows))))


def best_batches(rows: Mapping[int, Row]) -> list[int]:
    """The batch size with the most samples per second as observed, then those that may have as many."""
    best = max(rows, key=lambda size: _per_s(rows[size]))
    low, _ = _interval(rows[best])
    others = [size for size in sorted(rows) if size != best and _interval(rows[size])[1] >= low]
    return [best, *others]


def _cell(row: Row) -> str:
    assert row.latency is not None
    text = f"{_per_s(row):,.0f}"
    if row.latency.median_interval is None:
        return text
    low, high = _interval(row)
    return f"{text} ({low:,.0f} to {high:,.0f})"


def _per_s(row: Row) -> float:
    assert row.latency is not None
    return row.latency.throughput_per_s


def _interval(row: Row) -> Interval:
    """Interval of the median time; the median itself where there is none."""
    assert row.latency is not None
    found = row.latency.median_interval
    low_ms, high_ms = (row.latency.median_ms, row.latency.median_ms) if found is None else found.ends
    per_s = row.variant.batch_size * 1e3
    return per_s / high_ms, per_s / low_ms
