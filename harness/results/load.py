"""How a variant did under load."""

from __future__ import annotations

from harness.results.base import Record


class LoadResult(Record):
    """One test of LoadGen in performance mode."""

    valid: bool
    reason: str | None = None
    """Why LoadGen calls the result INVALID; None when it is valid."""
    samples_per_s: float | None
    """Answered samples; None when the test was too short to tell."""
    p50_ms: float | None = None
    """Latency of a query; None for `offline`, as are the other percentiles."""
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    target_percentile: float | None = None
    """In percent; the one that is the result, or that the bound is on."""
    target_percentile_ms: float | None = None
    """LoadGen's early-stopping estimate of that percentile; None where there is none, or with too few queries."""
    target_latency_ms: float | None = None
    """Bound on that percentile; None for tests without one."""
    target_qps: float | None = None
    """Rate at which queries were issued; None where the next query waits for an answer."""
    late_queries: int | None = None
    """Queries above the bound."""
    queries: int
    samples_per_query: int
    duration_s: float


class LoadAccuracy(Record):
    """Predictions of LoadGen's accuracy mode beside those of the evaluation, sample by sample."""

    n: int
    disagreements: int
    """Samples with another class, or with none in LoadGen's log; ties are not counted."""
    ties: int
    """Samples whose two classes have outputs that are equal up to rounding."""
    first: tuple[int, ...] = ()
    """Indices of the first test samples that disagree."""


class Load(Record):
    """How one variant did under the traffic of MLCommons LoadGen."""

    results: dict[str, LoadResult]
    """By load scenario: `single_stream`, `multi_stream`, `offline`, `server`."""
    accuracy: LoadAccuracy | None = None
    """None when the variant was not evaluated."""
    overhead_us: float
    """Median time of a query that nothing answers: what LoadGen and Python add to each latency."""
    loadgen_version: str
