"""The tables about load scenarios."""

from __future__ import annotations

from harness.report.tables import Table, seconds
from harness.report.variants import NONE, TOO_FEW
from harness.results import LoadResult, RunResults
from harness.words.phrases import three_digits

_FIGURES = ("Samples/s", "p50, ms", "p90, ms", "p99, ms")


def load_table(results: RunResults) -> Table | None:
    """One line per variant and load scenario, with LoadGen's reason where it calls the result INVALID."""
    rows = tuple(
        (row.variant.id, name.replace("_", " "), *_cells(result, results.confidence))
        for row in results.rows
        if row.load is not None
        for name, result in row.load.results.items()
    )
    headings = ("Variant", "Load scenario", "Result", *_FIGURES, "Target", "Queries", "Duration", "Why INVALID")
    caption = "Under the traffic of MLCommons LoadGen"
    return Table(caption, headings, rows, frozenset({3, 4, 5, 6, 8, 9})) if rows else None


def load_accuracy_table(results: RunResults) -> Table | None:
    """Whether the classes that LoadGen logged are those of the evaluation."""
    rows = tuple(
        (row.variant.id, f"{found.n:,}", f"{found.disagreements:,}", f"{found.ties:,}")
        for row in results.rows
        if row.load is not None and (found := row.load.accuracy) is not None
    )
    caption = "Classes in LoadGen's accuracy log beside those of the evaluation, sample by sample"
    headings = ("Variant", "Samples", "Other class", "Ties")
    return Table(caption, headings, rows, frozenset({1, 2, 3})) if rows else None


def _cells(result: LoadResult, confidence: float) -> tuple[str, ...]:
    latencies = [(0.5, result.p50_ms), (0.9, result.p90_ms), (0.99, result.p99_ms)]
    return (
        "valid" if result.valid else "INVALID",
        NONE if result.samples_per_s is None else f"{result.samples_per_s:,.0f}",
        *(_percentile(share, value, result.queries, confidence) for share, value in latencies),
        _target(result),
        _queries(result),
        seconds(result.duration_s),
        result.reason or NONE,
    )


def _percentile(share: float, value: float | None, queries: int, confidence: float) -> str:
    """LoadGen writes all of them from one query on; here they need as many as those of the latency table."""
    if value is None:
        return NONE
    return TOO_FEW if share**queries > (1 - confidence) / 2 else three_digits(value)


def _target(result: LoadResult) -> str:
    """The bound and the rate of `server`; LoadGen's estimate of the percentile that is the result elsewhere."""
    if result.target_percentile is None:
        return NONE
    percentile = f"p{result.target_percentile:g}"
    if result.target_latency_ms is not None:
        late = "" if result.late_queries is None else f", {result.late_queries:,} late"
        return f"{percentile} ≤ {result.target_latency_ms:g} ms at {result.target_qps:g} queries/s{late}"
    if result.target_percentile_ms is None:
        return f"{percentile}: too few queries"
    return f"{percentile} {three_digits(result.target_percentile_ms)} ms"


def _queries(result: LoadResult) -> str:
    each = "" if result.samples_per_query == 1 else f" of {result.samples_per_query:,} samples"
    return f"{result.queries:,}{each}"
