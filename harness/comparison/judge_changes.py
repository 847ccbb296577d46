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
    read,
    section_reason,
)
from harness.results import Interval, Row, RunResults, Verdict
from harness.results.comparison import Finding
from harness.stats.between_runs import at_level, independent_difference
from harness.stats.verdict import latency_band
from harness.words.phrases import milliseconds

SECTIONS = (*dict.fromkeys(figure.section for figure in catalog().values() if figure.margin is not None), METRICS)
"""What can be judged."""


@dataclass(frozen=True)
class Candidate:
    """A finding whose verdict waits for the correction over the whole comparison."""

    finding: Finding
    decide: Callable[[float], Verdict]
    """From the corrected p-value; it is 1 for figures without one."""


def candidates(base: Snapshot, new: Snapshot, variant_id: str, sections: frozenset[str]) -> Iterator[Candidate]:
    """Every judged figure of one variant that the base has."""
    old, now = base.rows[variant_id], new.rows[variant_id]
    levels = base.results.confidence, new.results.confidence
    scenario = new.results.scenario
    if "accuracy" in sections and old.accuracy is not None:
        yield _accuracy(base, new, variant_id) or _missing(scenario, now, TOP1, read(old, TOP1))
    if "latency" in sections and old.latency is not None and old.latency.speedup is not None:
        found = _latency(scenario, old, now, levels[1], levels[0])
        yield found or _missing(scenario, now, SPEEDUP, read(old, SPEEDUP))
    for each in figures_of(old):
        before = _at(each.read(old, levels[0]), *levels) if each.section in sections and _is_judged(each, old) else None
        if before is not None:
            after = each.read(now, levels[1])
            if after is None:
                yield _missing(scenario, now, each.name, before)
            else:
                yield _figure(new.results, variant_id, each, before, after)


def _is_judged(each: Figure, row: Row) -> bool:
    """By its own values: top-1 is judged in pairs instead, and times of two sessions by their speedups."""
    if each.name == f"{METRICS}.{AGREEMENT}" and row.accuracy is not None:
        return False  # the labels say more
    return each.margin is not None and each.name != TOP1 and each.from_speedup is None


def _at(found: FigureValue | None, confidence: float, wanted: float) -> FigureValue | None:
    """A figure with its interval at the level of the new run."""
    if found is None or found.interval is None:
        return found
    return FigureValue(found.value, at_level(found.value, found.interval, confidence, wanted))


def _accuracy(base: Snapshot, new: Snapshot, variant_id: str) -> Candidate | None:
    confidence = new.results.confidence
    found = accuracy_change(base, new, variant_id, confidence=confidence)
    old, now = base.rows[variant_id].accuracy, new.rows[variant_id].accuracy
    if found is None or old is None or now is None:
        return None
    margin = _margin(TOP1, now.margin, old.margin)
    interval = (-found.drop_ci[1], -found.drop_ci[0])
    finding = Finding(
        scenario=new.results.scenario,
        variant=variant_id,
        metric=TOP1,
        base=old.top1,
        new=now.top1,
        kind="difference",
        change=-found.drop,
        interval=interval,
        margin=margin,
        is_paired=found.is_paired,
        p_value=found.p_value,
        verdict="inconclusive",
        note="the engine is byte for byte the same" if found.is_identical else None,
    )
    if found.is_identical:
        return Candidate(finding.model_copy(update={"p_value": None}), lambda _: "same")
    return Candidate(finding, lambda p_value: _by_interval(interval, margin, p_value <= 1 - confidence))


def _latency(scenario: str, old: Row, now: Row, confidence: float, base_confidence: float) -> Candidate | None:
    if old.latency is None or now.latency is None:
        return None
    margin = _margin(SPEEDUP, now.latency.margin, old.latency.margin)
    # Noise proves nothing, and is no reason to call two engines the same: as in `latency_verdict`.
    band = max(latency_band(margin, latency.noise_floor) for latency in (old.latency, now.latency))
    found = latency_ratio(old.latency, now.latency, margin=band, confidence=confidence, base_confidence=base_confidence)
    if found is None and now.latency.speedup is not None:
        one = "a speedup has no usable interval: it was measured in one process and one round alone"
        return _missing(scenario, now, SPEEDUP, read(old, SPEEDUP), read(now, SPEEDUP), one)
    if found is None:
        return None
    low, high = found.interval
    interval = (1 / high - 1, 1 / low - 1)
    finding = Finding(
        scenario=scenario,
        variant=now.variant.id,
        metric=SPEEDUP,
        base=old.latency.speedup,
        new=now.latency.speedup,
        kind="ratio",
        change=1 / found.value - 1,
        interval=interval,
        margin=margin,
        p_value=found.p_value,
        verdict="inconclusive",
        note=f"median {milliseconds(old.latency.median_ms)}, then {milliseconds(now.latency.median_ms)}",
    )

    def decide(p_value: float) -> Verdict:
        if 1 / (1 + margin) < low and high < 1 + margin:
            return "same"
        if p_value > 1 - confidence:
            return "inconclusive"
        return "worse" if found.value > 1 else "better"

    return Candidate(finding, decide)


def _figure(run: RunResults, variant_id: str, each: Figure, before: FigureValue, after: FigureValue) -> Candidate:
    margin = each.margin
    assert margin is not None
    base, new = min(before.value, margin.ceiling), min(after.value, margin.ceiling)
    # Minus infinity, an SQNR of NaN, may be on both sides.
    change = 0.0 if new == base else new - base if margin.kind == "difference" else _ratio(base, new)
    interval, p_value = None, None
    repeats = change == 0 and each.is_exact
    if before.interval is not None and after.interval is not None and not repeats:
        estimate = independent_difference(base, before.interval, new, after.interval, confidence=run.confidence)
        scale = 1.0 if margin.kind == "difference" or base == 0 else abs(base)
        interval = (estimate.interval[0] / scale, estimate.interval[1] / scale)
        p_value = estimate.p_value
    finding = Finding(
        scenario=run.scenario,
        variant=variant_id,
        metric=each.name,
        base=before.value,
        new=after.value,
        kind=margin.kind,
        change=_finite(change),
        interval=interval,
        margin=margin.size,
        p_value=p_value,
        verdict="inconclusive",
    )
    sign = 1.0 if each.better == "higher" else -1.0
    if interval is None:
        return Candidate(finding, lambda _: _exactly(sign * change, margin.size))
    ends = sorted(sign * end for end in interval)
    return Candidate(
        finding, lambda adjusted: _by_interval((ends[0], ends[1]), margin.size, adjusted <= 1 - run.confidence)
    )


def _missing(
    scenario: str,
    now: Row,
    name: str,
    before: FigureValue | None,
    after: FigureValue | None = None,
    why: str | None = None,
) -> Candidate:
    finding = Finding(
        scenario=scenario,
        variant=now.variant.id,
        metric=name,
        base=None if before is None else before.value,
        new=None if after is None else after.value,
        kind="difference",
        verdict="inconclusive",
        note=f"nothing to judge: {why or section_reason(now, name)}",
    )
    return Candidate(finding, lambda _: "inconclusive")


def _by_interval(gain: Interval, margin: float, test_agrees: bool) -> Verdict:
    """As `accuracy_verdict`, of a gain: within the margin is the same; else zero is left out and the test agrees."""
    low, high = gain
    if -margin < low and high < margin:
        return "same"
    if not test_agrees or low <= 0 <= high:
        return "inconclusive"
    return "better" if low > 0 else "worse"


def _exactly(gain: float, margin: float) -> Verdict:
    if abs(gain) <= margin:
        return "same"
    return "better" if gain > 0 else "worse"


def _margin(name: str, *margins: float | None) -> float:
    """That of a row, or the figure's own where the rows do not say which their scenario has."""
    default = figure(name).margin
    assert default is not None
    return next((margin for margin in margins if margin is not None), default.size)


def _ratio(base: float, new: float) -> float:
    return new / base - 1 if base else (0.0 if new == base else math.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
