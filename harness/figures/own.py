"""Figures of metrics that have no section of their own: described by the metric's class, kept with the value."""

from __future__ import annotations

from typing import Final

from harness.figures.base import METRICS, SHARE_MARGIN, Figure, FigureValue, Margin, Read
from harness.results import MetricValue, Row

AGREEMENT: Final = "agreement"
"""Name of the metric that replaces accuracy where there are no labels."""
_OTHER_MARGIN: Final = Margin("ratio", 0.05)


def metric_figure(
    name: str, *, unit: str, higher_is_better: bool, header: str | None = None, definition: str | None = None
) -> Figure:
    """The figure `metrics.NAME` from what the class of its metric says."""
    return Figure(
        name=f"{METRICS}.{name}",
        header=header or name,
        unit=unit,
        better="higher" if higher_is_better else "lower",
        definition=definition or f"What the metric `{name}` computes.",
        read=_reader(name),
        margin=SHARE_MARGIN if unit == "share" else _OTHER_MARGIN,
        column=name,
        has_interval=True,
        compares_with_fp32=name == AGREEMENT,
    )


def own_figure(name: str, metric: MetricValue) -> Figure:
    """The same from a record, which says all that is needed without the class."""
    return metric_figure(
        name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        header=metric.header,
        definition=metric.definition,
    )


def _reader(name: str) -> Read:
    def read(row: Row, confidence: float) -> FigureValue | None:
        metric = row.metrics.get(name)
        return None if metric is None else FigureValue(metric.value, metric.interval)

    return read
