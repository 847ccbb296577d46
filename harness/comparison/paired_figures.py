"""What a row's own record says about a figure and FP32's on the same samples."""

from __future__ import annotations

from typing import NamedTuple

from harness.figures import METRICS
from harness.results import Accuracy, Interval, MetricValue, Row

TOO_ALIKE = "too few samples tell it from FP32"


class PairedGain(NamedTuple):
    """A figure minus FP32's on the same samples."""

    value: float
    interval: Interval | None
    """None where too few samples differ for one."""


def paired_gain(row: Row, metric: str) -> PairedGain | None:
    """By the dotted name of the figure; None for figures that are not compared sample by sample."""
    section, _, name = metric.partition(".")
    if section == METRICS:
        found = row.metrics.get(name)
        return None if found is None else _of_metric(found)
    if section == "accuracy" and row.accuracy is not None:
        return _of_accuracy(row.accuracy, name)
    return None


def _of_metric(metric: MetricValue) -> PairedGain | None:
    """Its drop says what was lost, whichever way is better."""
    if metric.drop is None:
        return None
    return _gain(metric.drop, metric.drop_ci95, is_loss=metric.higher_is_better)


def _of_accuracy(accuracy: Accuracy, name: str) -> PairedGain | None:
    drops = {"top1": (accuracy.drop, accuracy.drop_ci95), "top5": (accuracy.top5_drop, accuracy.top5_drop_ci95)}
    drop, interval = drops.get(name, (None, None))
    return None if drop is None else _gain(drop, interval, is_loss=True)


def _gain(drop: float, interval: Interval | None, *, is_loss: bool) -> PairedGain:
    if not is_loss:
        return PairedGain(drop, interval)
    return PairedGain(-drop, None if interval is None else (-interval[1], -interval[0]))
