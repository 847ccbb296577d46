"""How good a row's predictions are: top-1 where there is one, else the metric of its task."""

from __future__ import annotations

from typing import NamedTuple

from harness import figures
from harness.results import Accuracy, MetricValue, PairedComparison, Row, Verdict

TOP1 = figures.figure(figures.TOP1).words


class Quality(NamedTuple):
    """What verdicts and conclusions about a row rest on."""

    name: str
    value: float
    higher_is_better: bool
    record: Accuracy | MetricValue

    @property
    def comparison(self) -> PairedComparison | None:
        """With FP32; None for FP32 itself."""
        return self.record.comparison

    @property
    def verdict(self) -> Verdict | None:
        """What the comparison proves."""
        return None if self.comparison is None else self.comparison.verdict

    @property
    def loss(self) -> float | None:
        """What was lost against FP32."""
        return None if self.comparison is None else self.comparison.loss

    @property
    def goodness(self) -> float:
        """Larger is better."""
        return self.value if self.higher_is_better else -self.value


def quality(row: Row) -> Quality | None:
    """None where the predictions were not judged; of several metrics of the task the first by name."""
    if row.accuracy is not None:
        return Quality(TOP1, row.accuracy.top1, True, row.accuracy)
    task_metrics = task_qualities(row)
    return task_metrics[0] if task_metrics else None


def task_qualities(row: Row) -> list[Quality]:
    """Every metric of the row that says how good its predictions are, by name; top-1 is not among them."""
    return [
        Quality(name, metric.value, metric.higher_is_better, metric)
        for name, metric in sorted(row.metrics.items())
        if metric.is_quality
    ]
