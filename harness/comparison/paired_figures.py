"""What a row's own record says about a figure and FP32's on the same samples."""

from __future__ import annotations

from typing import NamedTuple

from harness.figures import METRICS, TOP1, TOP5
from harness.results import Interval, PairedComparison, Row

TOO_ALIKE = "it differs from FP32 on too few samples"


class PairedGain(NamedTuple):
    """A figure minus FP32's on the same samples."""

    value: float
    interval: Interval | None
    """None where too few samples differ for one."""


def paired_gain(row: Row, metric: str) -> PairedGain | None:
    """By the dotted name of the figure; None for figures that are not compared sample by sample."""
    found = _comparison(row, metric)
    if found is None or found.difference is None:
        return None
    return PairedGain(found.difference, None if found.interval is None else found.interval.ends)


def _comparison(row: Row, metric: str) -> PairedComparison | None:
    section, _, name = metric.partition(".")
    if section == METRICS:
        own = row.metrics.get(name)
        return None if own is None else own.comparison
    if row.accuracy is None:
        return None
    return {TOP1: row.accuracy.comparison, TOP5: row.accuracy.top5_comparison}.get(metric)
