"""Where a row lies on the axes of a chart: its quality, loss, latency and cost with their ends, and its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.results import Accuracy, Row
from harness.verdicts.quality import Quality, quality
from harness.words.phrases import byte_size, calibrator_name, label, method_name, speed, three_digits

_LEAST_POINTS = 1.0
"""Smallest length of an axis of accuracy, in points."""


class Scale(NamedTuple):
    """How the quality of a group is drawn."""

    name: str
    factor: float
    unit: str
    least_span: float


@dataclass(frozen=True)
class Spot:
    """A row with its quality, as its axis shows it."""

    row: Row
    value: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float, float]:
        """Value and interval."""
        return self.value, self.low, self.high

    @property
    def name(self) -> str:
        """Name of the row within its group."""
        return label(self.row.variant)

    @property
    def series(self) -> str:
        """What stands in the legend: method and calibrator."""
        variant = self.row.variant
        return f"{method_name(variant.method)} {calibrator_name(variant)}".strip()


def scale_of(found: Quality) -> Scale:
    """Shares in percent; other metrics in their own unit."""
    if isinstance(found.record, Accuracy) or found.record.unit == "share":
        return Scale(found.name, 100.0, "%", _LEAST_POINTS)
    return Scale(found.name, 1.0, found.record.unit, abs(found.value) * _LEAST_POINTS / 100 or 1.0)


def margin_of(judged: Sequence[tuple[Row, Quality]], scale: Scale) -> float:
    """The widest margin of these rows, on the scale."""
    compared = [found.comparison for _, found in judged if found.comparison]
    return max((each.margin * scale.factor for each in compared if each.margin), default=0.0)


def laid_around_fp32(row: Row, found: Quality, rows: Sequence[Row]) -> Spot:
    """Ends are those of the difference to FP32, on which verdicts rest; without it those of the row's own value."""
    scale = scale_of(found)
    value = found.value * scale.factor
    compared = found.comparison
    if compared is not None and compared.interval is not None and compared.reference_value is not None:
        ends = [(compared.reference_value + end) * scale.factor for end in compared.interval.ends]
        return Spot(row, value, min(value, *ends), max(value, *ends))
    if row.variant.method == "fp32" and any(each.variant.method != "fp32" for each in rows):
        return Spot(row, value, value, value)
    own = found.record.top1_interval if isinstance(found.record, Accuracy) else found.record.interval
    low, high = own.ends if own else (found.value, found.value)
    return Spot(row, value, low * scale.factor, high * scale.factor)


def loss_spot(row: Row, found: Quality, scale: Scale) -> Spot:
    """Loss against FP32, with its interval."""
    assert found.comparison is not None and found.loss is not None
    low, high = found.comparison.loss_interval or (found.loss, found.loss)
    value = found.loss * scale.factor
    return Spot(row, value, min(value, low * scale.factor), max(value, high * scale.factor))


def tip(row: Row) -> list[str]:
    """The row's figures line by line."""
    return [label(row.variant), *_figures(row), *([row.status] if row.status != "ok" else [])]


def _figures(row: Row) -> Iterator[str]:
    found, latency = quality(row), row.latency
    if found is not None:
        scale = scale_of(found)
        yield f"{found.name} {found.value * scale.factor:.4g} {scale.unit}".strip()
        if found.loss is not None:
            lost = loss_spot(row, found, scale)
            yield f"drop {lost.value:.2f} ({lost.low:.2f} to {lost.high:.2f}), {found.verdict or 'not judged'}"
    if latency is not None:
        yield f"median {three_digits(latency.median_ms)} ms"
        if latency.p99_ms is not None:
            yield f"99th percentile {three_digits(latency.p99_ms)} ms"
        if latency.speedup is not None:
            yield f"{speed(latency.speedup)} FP32, {latency.verdict or 'not judged'}"
    if row.size is not None and row.size.engine_bytes is not None:
        yield f"engine {byte_size(row.size.engine_bytes)}"
    if seconds := seconds_made(row):
        yield f"made in {three_digits(seconds)} s"


def median_ms(row: Row) -> float:
    """Median latency of a row that was timed."""
    assert row.latency is not None
    return row.latency.median_ms


def median_ends(row: Row) -> list[tuple[float, float]]:
    """Interval of the median in ms; empty where there is none."""
    found = row.latency.median_interval if row.latency else None
    return [found.ends] if found else []


def tail_ms(row: Row) -> float:
    """99th percentile of the latency, or the nearest one below that the record has."""
    assert row.latency is not None
    return row.latency.p99_ms or row.latency.p90_ms or row.latency.median_ms


def usual_ms(row: Row) -> float:
    """The slowest that is no exception."""
    parts = row.latency.distribution_ms if row.latency else None
    return parts[-1] if parts else tail_ms(row)


def seconds_made(row: Row) -> float:
    """Seconds that the row needed beyond FP32; 0 where nothing is known."""
    cost = row.cost
    return sum(filter(None, (cost.calibrate_s, cost.quantize_s, cost.finetune_s))) if cost else 0.0
