"""From the figures of one variant in two runs to what is judged about each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.comparison.latency_ratio import latency_ratio
from harness.comparison.same_samples import accuracy_change
from harness.comparison.snapshot import Snapshot
from harness.figures import (
    AGREEMENT,
    METRICS,
    SPEEDUP,
    TOP1,
    Figure,
    FigureValue,
    catalog,
    figure,
    figures_of,
    find_figure,
    read,
    section_reason,
)
from harness.results import ConfidenceInterval, PairedComparison, Row, Verdict
from harness.results.comparison import Finding
from harness.stats.between_runs import at_level, independent_difference
from harness.stats.verdict import latency_band
from harness.verdicts.changes import by_interval, by_value, of_time_ratio
from harness.words.phrases import milliseconds

SECTIONS = (*dict.fromkeys(figure.section for figure in catalog().values() if figure.margin is not None), METRICS)
"""What can be judged."""


@dataclass(frozen=True)
class Candidate:
    """A finding whose verdict waits for the correction over the whole comparison."""

    finding: Finding
    decide: Callable[[float], Verdict]
    """From the corrected p-value; it is 1 for figures without one."""


def candidate_changes(base: Snapshot, new: Snapshot, variant_id: str, sections: frozenset[str]) -> Iterator[Candidate]:
    """Every judged figure of one variant that the base has."""
    old, now = base.rows[variant_id], new.rows[variant_id]
    pair = _SnapshotPair(new.results.scenario, base.name, new.results.confidence, old, now)
    if "accuracy" in sections and old.accuracy is not None:
        yield _accuracy(base, new, pair) or _missing(pair, TOP1, read(old, TOP1))
    if "latency" in sections and old.latency is not None and old.latency.speedup is not None:
        yield _latency(pair) or _missing(pair, SPEEDUP, read(old, SPEEDUP))
    for each in figures_of(old):
        if each.section not in sections or not _is_judged(each, old):
            continue
        before = _at(each.read(old, base.results.confidence), pair.confidence)
        if before is None:
            continue
        after = each.read(now, pair.confidence)
        yield _missing(pair, each.name, before) if after is None else _figure(pair, each, before, after)


@dataclass(frozen=True)
class _SnapshotPair:
    """One variant in both runs."""

    scenario: str
    base_name: str
    confidence: float
    """Confidence of the new run's intervals."""
    old: Row
    now: Row

    def candidate(
        self,
        metric: str,
        comparison: PairedComparison,
        decide: Callable[[float], Verdict],
        *,
        is_paired: bool | None = None,
        note: str | None = None,
    ) -> Candidate:
        """A finding that waits for its verdict."""
        finding = Finding(
            scenario=self.scenario,
            variant=self.now.variant.id,
            metric=metric,
            unit=self._unit(metric),
            comparison=comparison.model_copy(update={"reference": self.base_name}),
            is_paired=is_paired,
            note=note,
        )
        return Candidate(finding, decide)

    def _unit(self, metric: str) -> str:
        """The base has every figure that is judged; a metric may have vanished from the new run."""
        found = find_figure(self.now, metric) or find_figure(self.old, metric)
        return "" if found is None else found.unit


def _is_judged(each: Figure, row: Row) -> bool:
    """By its own values: top-1 is judged in pairs instead, and times of two sessions by their speedups."""
    if each.name == f"{METRICS}.{AGREEMENT}" and row.accuracy is not None:
        return False  # the labels say more
    return each.margin is not None and each.name != TOP1 and each.from_speedup is None


def _at(found: FigureValue | None, wanted: float) -> FigureValue | None:
    """A figure with its interval at the level of the new run."""
    if found is None or found.interval is None:
        return found
    ends = at_level(found.value, found.interval.ends, found.interval.confidence, wanted)
    return FigureValue(found.value, ConfidenceInterval.of(ends, wanted))


def _accuracy(base: Snapshot, new: Snapshot, pair: _SnapshotPair) -> Candidate | None:
    found = accuracy_change(base, new, pair.now.variant.id, confidence=pair.confidence)
    if found is None or found.comparison.interval is None:
        return None
    margin = _margin(TOP1, *(each.accuracy.comparison for each in (pair.now, pair.old) if each.accuracy))
    comparison = found.comparison.model_copy(update={"margin": margin})
    if found.is_identical:
        note = "the engine is byte for byte the same"
        return pair.candidate(TOP1, comparison, lambda _: "same", is_paired=found.is_paired, note=note)
    gain = found.comparison.interval.ends
    return pair.candidate(
        TOP1,
        comparison,
        lambda p_value: by_interval(gain, margin, p_value <= 1 - pair.confidence),
        is_paired=found.is_paired,
    )


def _latency(pair: _SnapshotPair) -> Candidate | None:
    old, now = pair.old.latency, pair.now.latency
    if old is None or now is None:
        return None
    margin = _margin(SPEEDUP, now.comparison, old.comparison)
    band = max(latency_band(margin, latency.noise_floor) for latency in (old, now))
    found = latency_ratio(old, now, margin=band, confidence=pair.confidence)
    if found is None and now.speedup is not None:
        one = "a speedup has no usable interval: it was measured in one process and one round alone"
        return _missing(pair, SPEEDUP, read(pair.old, SPEEDUP), read(pair.now, SPEEDUP), one)
    if found is None:
        return None
    low, high = found.interval
    comparison = PairedComparison(
        value=now.speedup,
        reference_value=old.speedup,
        kind="ratio",
        difference=1 / found.value - 1,
        interval=ConfidenceInterval.of((1 / high - 1, 1 / low - 1), pair.confidence),
        margin=margin,
        p_value=found.p_value,
    )
    return pair.candidate(
        SPEEDUP,
        comparison,
        lambda p_value: of_time_ratio(found.value, found.interval, margin, p_value <= 1 - pair.confidence),
        note=f"median {milliseconds(old.median_ms)}, then {milliseconds(now.median_ms)}",
    )


def _figure(pair: _SnapshotPair, each: Figure, before: FigureValue, after: FigureValue) -> Candidate:
    margin = each.margin
    assert margin is not None
    base, new = min(before.value, margin.ceiling), min(after.value, margin.ceiling)
    # Minus infinity, an SQNR of NaN, may be on both sides.
    change = 0.0 if new == base else new - base if margin.kind == "difference" else _ratio(base, new)
    interval, p_value = None, None
    repeats = change == 0 and each.is_exact
    if before.interval is not None and after.interval is not None and not repeats:
        estimate = independent_difference(
            base, before.interval.ends, new, after.interval.ends, confidence=pair.confidence
        )
        scale = 1.0 if margin.kind == "difference" or base == 0 else abs(base)
        interval = (estimate.interval[0] / scale, estimate.interval[1] / scale)
        p_value = estimate.p_value
    comparison = PairedComparison(
        value=after.value,
        reference_value=before.value,
        kind=margin.kind,
        difference=_finite(change),
        higher_is_better=each.better == "higher",
        interval=None if interval is None else ConfidenceInterval.of(interval, pair.confidence),
        margin=margin.size,
        p_value=p_value,
    )
    sign = 1.0 if each.better == "higher" else -1.0
    if interval is None:
        return pair.candidate(each.name, comparison, lambda _: by_value(sign * change, margin.size))
    low, high = sorted(sign * end for end in interval)
    return pair.candidate(
        each.name,
        comparison,
        lambda adjusted: by_interval((low, high), margin.size, adjusted <= 1 - pair.confidence),
    )


def _missing(
    pair: _SnapshotPair, name: str, before: FigureValue | None, after: FigureValue | None = None, why: str | None = None
) -> Candidate:
    comparison = PairedComparison(
        value=None if after is None else after.value,
        reference_value=None if before is None else before.value,
        difference=None,
    )
    note = f"nothing to judge: {why or section_reason(pair.now, name)}"
    return pair.candidate(name, comparison, lambda _: "inconclusive", note=note)


def _margin(name: str, *compared: PairedComparison | None) -> float:
    """That of a row, or the figure's own where the rows do not say which their scenario has."""
    default = figure(name).margin
    assert default is not None
    return next((each.margin for each in compared if each is not None and each.margin is not None), default.size)


def _ratio(base: float, new: float) -> float:
    return new / base - 1 if base else (0.0 if new == base else math.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
