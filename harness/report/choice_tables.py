"""Rows of several targets side by side, where these were timed in the same rounds."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import EngineChoice, Row, RunResults
from harness.verdicts.quality import quality
from harness.verdicts.recommend import keeps_accuracy
from harness.words.phrases import byte_size, row_name, speed, speed_interval, three_digits

_HEADINGS = ("Model", "Variant", "Median, ms", "Speedup", "Interval", "Verdict", "Keeps accuracy", "Engine")


def choices_table(results: RunResults) -> Table | None:
    """Fastest first; None where no two targets were timed together."""
    rows = tuple(cells for found in results.choices for cells in _lines(results, found))
    if not rows:
        return None
    caption = "Engines that took turns in the same rounds; speedup over FP32 on the reference target"
    return Table(caption, _HEADINGS, rows, frozenset({2, 3, 4, 7}))


def _lines(results: RunResults, found: EngineChoice) -> Iterator[tuple[str, ...]]:
    together = [row for row in results.rows if found.reference is not None and _is_of(row, found.reference)]
    for row in sorted(together, key=lambda row: row.latency.median_ms if row.latency else 0.0):
        yield (f"{found.model}, batch {found.batch_size}", *_cells(row))


def _is_of(row: Row, reference: str) -> bool:
    latency = row.latency
    if row.status != "ok" or latency is None:
        return False
    compared = [
        each.comparison for each in (latency, latency.across) if each is not None and each.comparison is not None
    ]
    return row.variant.id == reference or reference in [each.reference for each in compared]


def _cells(row: Row) -> tuple[str, ...]:
    assert row.latency is not None
    latency, timed = row.latency, row.latency.across or row.latency
    speedup, interval, verdict = timed.speedup, timed.speedup_interval, timed.verdict
    size = row.size.engine_bytes if row.size else None
    return (
        row_name(row),
        three_digits(latency.median_ms),
        NONE if speedup is None else speed(speedup),
        NONE if interval is None else speed_interval(interval.ends),
        verdict or NONE,
        _keeps(row),
        NONE if size is None else byte_size(size),
    )


def _keeps(row: Row) -> str:
    found = quality(row)
    if found is None:
        return NONE
    if keeps_accuracy(row):
        return "yes"
    return "no" if found.verdict == "worse" else "not proven"
