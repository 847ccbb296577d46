"""What a gate holds against its limit: a figure, or how it compares with FP32 or with the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from harness.comparison.environments import EnvironmentDifference, differences
from harness.comparison.latency_ratio import degrees_of, latency_ratio
from harness.comparison.same_samples import accuracy_change
from harness.comparison.snapshot import Snapshot
from harness.figures import METRICS, SPEEDUP, TOP1, TOP5, FigureValue, find_figure, read, section_reason
from harness.results import ConfidenceInterval, Interval, Latency, PairedComparison, Row
from harness.scenario.gates import GateSpec
from harness.stats.between_runs import at_level, independent_difference

_AS_MULTIPLE = "both as multiples of FP32's own figure in their session"
_TOO_ALIKE = "it differs from FP32 on too few samples"
_NOT_PAIRED = "judged on the intervals of both figures: none of their difference is recorded"


@dataclass(frozen=True)
class GateFigure:
    """A number to hold against a limit, or why there is none."""

    value: float | None
    interval: Interval | None = None
    is_exact: bool = False
    degrees: float = math.inf
    """Degrees of freedom of the interval's t quantile; infinite for a normal quantile."""
    analyses: int = 1
    """That share the interval's error among them."""
    compared_with: str | None = None
    basis: str | None = None
    """In what both were compared, where that is not the figure itself."""
    reason: str | None = None


@dataclass(frozen=True)
class Sides:
    """The run, and what its figures may be compared with."""

    run: Snapshot
    baseline: Snapshot | None
    baseline_file: Path | None
    """Where the baseline is, or would be."""

    @cached_property
    def differences(self) -> tuple[EnvironmentDifference, ...]:
        """Conditions that the run and the baseline do not share."""
        return () if self.baseline is None else differences(self.baseline.results, self.run.results)

    def refusal(self, metric: str) -> str | None:
        """Why a figure must not be compared with the baseline, or None."""
        section = metric.partition(".")[0]
        return next((each.text for each in self.differences if _forbids(each, section)), None)


def compared_figure(gate: GateSpec, row: Row, sides: Sides) -> GateFigure:
    """What the gate's limit is compared with for one row."""
    own = read(row, gate.metric, confidence=sides.run.results.confidence)
    if own is None:
        return GateFigure(None, reason=section_reason(row, gate.metric))
    if gate.reference is None:
        if gate.metric == SPEEDUP and row.latency is not None:
            return _speedup_figure(row.latency, own.value, _ends(own))
        return GateFigure(own.value, _ends(own), is_exact=_is_exact(row, gate.metric))
    if gate.reference == "fp32":
        return _against_fp32(gate, row, own, sides)
    return _against_baseline(gate, row, own, sides)


def _against_fp32(gate: GateSpec, row: Row, own: FigureValue, sides: Sides) -> GateFigure:
    reference = sides.run.results.fp32_of(row.variant)
    other = None if reference is None else read(reference, gate.metric, confidence=sides.run.results.confidence)
    if reference is None or other is None:
        why = "there is no FP32 row" if reference is None else section_reason(reference, gate.metric)
        return GateFigure(None, reason=f"nothing to compare with: {why}")
    name = reference.variant.id
    pair = paired_with_fp32(row, gate.metric)
    if pair is not None and pair.difference is not None:
        if pair.interval is None:
            return GateFigure(None, compared_with=name, reason=f"{_TOO_ALIKE}: no interval of the difference is known")
        # Both predicted the same samples: intervals of two separate shares would answer another question.
        return _related(gate, other.value, own.value, pair.interval.ends, name)
    if row.latency is not None and _from_speedup(row, gate.metric) is not None:
        return _latency_against_fp32(gate, row, row.latency, other, name)
    figure = _unpaired(gate, row, other, own, name)
    return figure if figure.interval is None else replace(figure, reason=_NOT_PAIRED)


def paired_with_fp32(row: Row, metric: str) -> PairedComparison | None:
    """What the row records about a figure and FP32's on the same samples; None where it is not compared so."""
    section, _, name = metric.partition(".")
    if section == METRICS:
        own = row.metrics.get(name)
        return None if own is None else own.comparison
    if row.accuracy is None:
        return None
    return {TOP1: row.accuracy.comparison, TOP5: row.accuracy.top5_comparison}.get(metric)


def _latency_against_fp32(gate: GateSpec, row: Row, latency: Latency, other: FigureValue, name: str) -> GateFigure:
    """From the ratio of the same rounds; differences are that ratio's part of FP32's own figure."""
    found = _paired_speedup(latency, is_rate=_from_speedup(row, gate.metric) == "rate")
    if found is None:
        return GateFigure(None, compared_with=name, reason="it was not measured in the same rounds as FP32")
    ratio, (low, high) = found
    if gate.of is not None:
        return _speedup_figure(latency, ratio, (low, high), compared_with=name)
    sign = -1.0 if gate.below else 1.0
    ends = sorted(sign * other.value * (end - 1) for end in (low, high))
    return _speedup_figure(latency, sign * other.value * (ratio - 1), (ends[0], ends[1]), compared_with=name)


def _speedup_figure(
    latency: Latency, value: float, interval: Interval | None, compared_with: str | None = None
) -> GateFigure:
    """The figure of a speedup, whose error over a handful of processes has the tails of Student's t."""
    return GateFigure(
        value, interval, degrees=degrees_of(latency), analyses=latency.analyses, compared_with=compared_with
    )


def _paired_speedup(latency: Latency, *, is_rate: bool) -> tuple[float, Interval] | None:
    """Time or rate as a multiple of FP32's, measured in the same rounds."""
    if not latency.speedup or latency.speedup_interval is None:
        return None
    low, high = latency.speedup_interval.ends
    if is_rate:
        return latency.speedup, (low, high)
    return 1 / latency.speedup, (1 / high if high else math.inf, 1 / low if low > 0 else math.inf)


def _against_baseline(gate: GateSpec, row: Row, own: FigureValue, sides: Sides) -> GateFigure:
    where = sides.baseline_file
    if sides.baseline is None:
        return GateFigure(None, reason=f"there is no baseline {where}: write it with `harness baseline save RUN`")
    name = str(where or sides.baseline.name)
    stored = sides.baseline.rows.get(row.variant.id)
    confidence = sides.run.results.confidence
    other = None if stored is None else read(stored, gate.metric, confidence=sides.baseline.results.confidence)
    if stored is None or other is None:
        why = "it has no such variant" if stored is None else section_reason(stored, gate.metric)
        return GateFigure(None, reason=f"nothing to compare with in {name}: {why}")
    if (refusal := sides.refusal(gate.metric)) is not None:
        return GateFigure(None, reason=f"not comparable with {name}: {refusal}")
    if gate.metric == TOP1:
        change = accuracy_change(sides.baseline, sides.run, row.variant.id, confidence=confidence)
        if change is not None and change.comparison.interval is not None:
            return _related(gate, other.value, own.value, change.comparison.interval.ends, name)
    if _from_speedup(row, gate.metric) is not None and row.latency is not None and stored.latency is not None:
        return _latency_against_baseline(gate, row, stored, other, name, confidence)
    if other.interval is not None:
        ends = at_level(other.value, other.interval.ends, other.interval.confidence, confidence)
        other = FigureValue(other.value, ConfidenceInterval.of(ends, confidence))
    return _unpaired(gate, row, other, own, name)


def _latency_against_baseline(
    gate: GateSpec, row: Row, stored: Row, other: FigureValue, name: str, confidence: float
) -> GateFigure:
    """Through the speedups: absolute times of two sessions do not tell what the change did."""
    assert row.latency is not None and stored.latency is not None
    found = latency_ratio(stored.latency, row.latency, margin=0.0, confidence=confidence)
    if found is None:
        return GateFigure(
            None, reason=f"times of two sessions compare as multiples of FP32's, which {row.variant.id} lacks"
        )
    ratio, (low, high) = found.value, found.interval
    if _from_speedup(row, gate.metric) == "rate":
        ratio, (low, high) = 1 / ratio, (1 / high, 1 / low)
    if gate.of is not None:
        return GateFigure(ratio, (low, high), degrees=found.degrees, compared_with=name, basis=_AS_MULTIPLE)
    sign = -1.0 if gate.below else 1.0
    ends = sorted(sign * other.value * (end - 1) for end in (low, high))
    change = sign * other.value * (ratio - 1)
    return GateFigure(change, (ends[0], ends[1]), degrees=found.degrees, compared_with=name, basis=_AS_MULTIPLE)


def _related(gate: GateSpec, other: float, own: float, difference_ci: Interval, name: str) -> GateFigure:
    """From the interval of a difference (own - other); as a multiple, the other figure is taken as it was measured."""
    low, high = difference_ci
    if gate.above:
        return GateFigure(own - other, (low, high), compared_with=name)
    if gate.below:
        return GateFigure(other - own, (-high, -low), compared_with=name)
    if other == 0:
        return GateFigure(None, compared_with=name, reason=f"no multiple of 0: {gate.metric} of {name} is 0")
    ends = sorted((1 + low / other, 1 + high / other))
    return GateFigure(own / other, (ends[0], ends[1]), compared_with=name)


def _unpaired(gate: GateSpec, row: Row, other: FigureValue, own: FigureValue, name: str) -> GateFigure:
    if own.interval is not None and other.interval is not None:
        estimate = independent_difference(other.value, other.interval.ends, own.value, own.interval.ends)
        return _related(gate, other.value, own.value, estimate.interval, name)
    exact = _is_exact(row, gate.metric)
    if gate.of is None:
        difference = own.value - other.value
        return GateFigure(-difference if gate.below else difference, is_exact=exact, compared_with=name)
    if other.value == 0 or not math.isfinite(other.value):
        return GateFigure(None, compared_with=name, reason=f"no multiple of {other.value:g}: {gate.metric} of {name}")
    return GateFigure(own.value / other.value, is_exact=exact, compared_with=name)


def _ends(found: FigureValue) -> Interval | None:
    return None if found.interval is None else found.interval.ends


def _forbids(difference: EnvironmentDifference, section: str) -> bool:
    return difference.severity == "refuse" and section in difference.affects


def _is_exact(row: Row, name: str) -> bool:
    figure = find_figure(row, name)
    return figure is not None and figure.is_exact


def _from_speedup(row: Row, name: str) -> Literal["time", "rate"] | None:
    figure = find_figure(row, name)
    return None if figure is None else figure.from_speedup
