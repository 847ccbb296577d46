"""Samples per second over batch sizes and over streams, where a scenario has several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Interval, Row, RunResults, StreamThroughput, Variant
from harness.words.phrases import counted, row_name

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


_STREAMS_CAPTION = (
    "Samples per second with so many inferences side by side, one thread each: the median block, the slowest and the "
    "fastest one. The best number of streams has the most; others whose fastest block reaches its slowest one are "
    "named beside it"
)


def streams_table(results: RunResults) -> Table | None:
    """One line per variant that ran with several streams; None without any."""
    found = [(row, row.latency.by_streams) for row in results.rows if row.status == "ok" and row.latency]
    found = [(row, by_streams) for row, by_streams in found if by_streams]
    counts = sorted({each.streams for _, by_streams in found for each in by_streams})
    if not counts:
        return None
    headings = ("Model", "Variant", "Batch", *(counted(count, "stream") for count in counts), "Best streams")
    lines = tuple(_streams_line(row, by_streams, counts) for row, by_streams in found)
    return Table(_STREAMS_CAPTION, headings, lines, frozenset(range(2, len(headings))))


def _streams_line(row: Row, by_streams: Sequence[StreamThroughput], counts: list[int]) -> tuple[str, ...]:
    cells = {
        each.streams: f"{each.per_s:,.0f} ({each.slowest_per_s:,.0f} to {each.fastest_per_s:,.0f})"
        for each in by_streams
    }
    best = " or ".join(map(str, best_streams(by_streams)))
    shown = (cells.get(count, NONE) for count in counts)
    return (row.variant.model, row_name(row), str(row.variant.batch_size), *shown, best)


def best_streams(by_streams: Sequence[StreamThroughput]) -> list[int]:
    """The number with the most samples per second, then those whose fastest block reaches its slowest one."""
    best = max(by_streams, key=lambda each: each.per_s)
    return [best.streams] + [
        each.streams for each in by_streams if each is not best and each.fastest_per_s >= best.slowest_per_s
    ]


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
