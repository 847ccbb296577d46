"""From the figures of one variant in two runs to what is judged about each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.comparison.latency_ratio import latency_ratio
from harness.comparison.same_samples import accuracy_change
from harness.comparison.snapshot import Snapshot
from harness.results import Interval, Row, RunResults, Verdict
from harness.results.comparison import ChangeKind, Finding
from harness.results.row_figures import EXACT_SECTIONS, METRICS, Figure, figure_names, find, section_reason
from harness.stats.between_runs import at_level, independent_difference
from harness.stats.verdict import latency_band
from harness.words.phrases import milliseconds

TOP1, SPEEDUP = "accuracy.top1", "latency.speedup"
DEFAULT_ACCURACY_MARGIN, DEFAULT_LATENCY_MARGIN = 0.005, 0.01
"""Where the rows do not say which margin their scenario has."""


@dataclass(frozen=True)
class Candidate:
    """A finding whose verdict waits for the correction over the whole comparison."""

    finding: Finding
    decide: Callable[[float], Verdict]
    """From the corrected p-value; it is 1 for figures without one."""


@dataclass(frozen=True)
class _Rule:
    """How a change of the figures that fit `pattern` is judged."""

    pattern: str
    higher_is_better: bool
    kind: ChangeKind
    margin: float
    """Change that still counts as the same, where the figure is exact or its interval allows."""
    ceiling: float = math.inf
    """Above it, one value is as good as another."""


RULES = (
    _Rule("size.*_bytes", higher_is_better=False, kind="ratio", margin=0.01),
    _Rule("coverage.int8_macs", higher_is_better=True, kind="difference", margin=0.0005),
    # Twice the noise is 3 dB; above 60 dB it is the rounding of float kernels.
    _Rule("parity.*.sqnr_db", higher_is_better=True, kind="difference", margin=3.0, ceiling=60.0),
    _Rule("parity.*.top1_agreement", higher_is_better=True, kind="difference", margin=DEFAULT_ACCURACY_MARGIN),
    _Rule("memory.increase_bytes", higher_is_better=False, kind="ratio", margin=0.10),
    _Rule("memory.device_bytes", higher_is_better=False, kind="ratio", margin=0.10),
    _Rule("energy.joules_per_inference", higher_is_better=False, kind="ratio", margin=0.10),
)
SECTIONS = ("accuracy", "latency", "size", "coverage", "parity", "memory", "energy", METRICS)
"""What can be judged."""


def candidates(base: Snapshot, new: Snapshot, variant_id: str, sections: frozenset[str]) -> Iterator[Candidate]:
    """Every judged figure of one variant that the base has."""
    old, now = base.rows[variant_id], new.rows[variant_id]
    scenario, confidence = new.results.scenario, new.results.confidence
    if "accuracy" in sections and old.accuracy is not None:
        yield _accuracy(base, new, variant_id) or _missing(scenario, now, TOP1, find(old, TOP1))
    if "latency" in sections and old.latency is not None and old.latency.speedup is not None:
        found = _latency(scenario, old, now, confidence, base.results.confidence)
        yield found or _missing(scenario, now, SPEEDUP, find(old, SPEEDUP))
    levels = base.results.confidence, confidence
    names = [*figure_names(), *(f"{METRICS}.{name}" for name in old.metrics)]
    for name in names:
        rule = _rule(name, old) if name.partition(".")[0] in sections else None
        before = _at(find(old, name, confidence=levels[0]), *levels)
        if rule is not None and before is not None:
            after = find(now, name, confidence=confidence)
            if after is None:
                yield _missing(scenario, now, name, before)
            else:
                yield _figure(new.results, variant_id, name, rule, before, after)


def _at(figure: Figure | None, confidence: float, wanted: float) -> Figure | None:
    """A figure with its interval at the level of the new run."""
    if figure is None or figure.interval is None:
        return figure
    return Figure(figure.value, at_level(figure.value, figure.interval, confidence, wanted))


def _rule(name: str, row: Row) -> _Rule | None:
    section, _, rest = name.partition(".")
    if section == METRICS:
        metric = row.metrics[rest]
        if rest == "agreement" and row.accuracy is not None:
            return None  # the labels say more
        if metric.unit == "share":
            return _Rule(name, metric.higher_is_better, "difference", DEFAULT_ACCURACY_MARGIN)
        return _Rule(name, metric.higher_is_better, "ratio", 0.05)
    return next((rule for rule in RULES if fnmatchcase(name, rule.pattern)), None)


def _accuracy(base: Snapshot, new: Snapshot, variant_id: str) -> Candidate | None:
    confidence = new.results.confidence
    found = accuracy_change(base, new, variant_id, confidence=confidence)
    old, now = base.rows[variant_id].accuracy, new.rows[variant_id].accuracy
    if found is None or old is None or now is None:
        return None
    margin = _margin(now.margin, old.margin, DEFAULT_ACCURACY_MARGIN)
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
    margin = _margin(now.latency.margin, old.latency.margin, DEFAULT_LATENCY_MARGIN)
    # Noise proves nothing, and is no reason to call two engines the same: as in `latency_verdict`.
    band = max(latency_band(margin, latency.noise_floor) for latency in (old.latency, now.latency))
    found = latency_ratio(old.latency, now.latency, margin=band, confidence=confidence, base_confidence=base_confidence)
    if found is None and now.latency.speedup is not None:
        one = "a speedup has no usable interval: it was measured in one process and one round alone"
        return _missing(scenario, now, SPEEDUP, find(old, SPEEDUP), find(now, SPEEDUP), one)
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


def _figure(run: RunResults, variant_id: str, name: str, rule: _Rule, before: Figure, after: Figure) -> Candidate:
    base, new = min(before.value, rule.ceiling), min(after.value, rule.ceiling)
    # Minus infinity, an SQNR of NaN, may be on both sides.
    change = 0.0 if new == base else new - base if rule.kind == "difference" else _ratio(base, new)
    interval, p_value = None, None
    repeats = change == 0 and name.partition(".")[0] in EXACT_SECTIONS
    if before.interval is not None and after.interval is not None and not repeats:
        estimate = independent_difference(base, before.interval, new, after.interval, confidence=run.confidence)
        scale = 1.0 if rule.kind == "difference" or base == 0 else abs(base)
        interval = (estimate.interval[0] / scale, estimate.interval[1] / scale)
        p_value = estimate.p_value
    finding = Finding(
        scenario=run.scenario,
        variant=variant_id,
        metric=name,
        base=before.value,
        new=after.value,
        kind=rule.kind,
        change=_finite(change),
        interval=interval,
        margin=rule.margin,
        p_value=p_value,
        verdict="inconclusive",
    )
    sign = 1.0 if rule.higher_is_better else -1.0
    if interval is None:
        return Candidate(finding, lambda _: _exactly(sign * change, rule.margin))
    ends = sorted(sign * end for end in interval)
    return Candidate(
        finding, lambda adjusted: _by_interval((ends[0], ends[1]), rule.margin, adjusted <= 1 - run.confidence)
    )


def _missing(
    scenario: str, now: Row, name: str, before: Figure | None, after: Figure | None = None, why: str | None = None
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


def _margin(*margins: float | None) -> float:
    return next(margin for margin in margins if margin is not None)


def _ratio(base: float, new: float) -> float:
    return new / base - 1 if base else (0.0 if new == base else math.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
