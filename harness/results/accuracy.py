"""How good the predictions of a variant are."""

from __future__ import annotations

from harness.results.base import Record
from harness.results.paired import ConfidenceInterval, PairedComparison
from harness.stats.terms import Verdict


class ClassAccuracy(Record):
    """Recall of one class: the share of its test samples that are predicted as it."""

    label: int
    name: str | None = None
    """Name of the class; None where it has none."""
    n: int
    """Test samples of the class."""
    recall: float
    interval: ConfidenceInterval
    """Interval of the recall."""
    comparison: PairedComparison | None = None
    """With FP32 on the same samples, by the exact McNemar test among them; adjusted for the classes of the row."""

    @property
    def drop(self) -> float | None:
        """FP32 recall minus this row's."""
        return None if self.comparison is None else self.comparison.loss


class Confusion(Record):
    """Test samples of one class that were predicted as another."""

    label: int
    predicted: int
    n: int


class Accuracy(Record):
    """Top-1 on the test samples, and the paired differences to the FP32 row."""

    top1: float
    n: int
    top1_interval: ConfidenceInterval
    comparison: PairedComparison | None = None
    """Comparison of top-1 with FP32 (exact McNemar test, score tests of the margin); None for the FP32 row itself."""
    drop_bootstrap_interval: ConfidenceInterval | None = None
    """Percentile bootstrap interval of the drop, beside the score interval; None where no sample differs from FP32."""
    agreement: float | None = None
    """Share of samples where this row predicts the same class as FP32."""
    agreement_interval: ConfidenceInterval | None = None
    top5: float | None = None
    """Share of samples whose class is among the five largest outputs; None with five classes or fewer."""
    top5_interval: ConfidenceInterval | None = None
    top5_comparison: PairedComparison | None = None
    classes: tuple[ClassAccuracy, ...] = ()
    """One entry per class that has test samples."""
    confusions: tuple[Confusion, ...] = ()
    """The most frequent ones, most frequent first; none in records from before they were kept."""

    @property
    def drop(self) -> float | None:
        """FP32 top-1 minus this row's (positive: this row lost)."""
        return None if self.comparison is None else self.comparison.loss

    @property
    def verdict(self) -> Verdict | None:
        """What the comparison with FP32 proves."""
        return None if self.comparison is None else self.comparison.verdict

    @property
    def top5_drop(self) -> float | None:
        """FP32 top-5 minus this row's."""
        return None if self.top5_comparison is None else self.top5_comparison.loss


class MetricValue(Record):
    """A figure of a metric that has no section of its own."""

    value: float
    unit: str
    higher_is_better: bool
    header: str | None = None
    """Header of its column in tables; None: its name. As the next one, from the class of the metric."""
    definition: str | None = None
    """One sentence."""
    interval: ConfidenceInterval | None = None
    n: int | None = None
    """Samples that the figure is of."""
    is_quality: bool = False
    """It says how good the predictions are, where the task has no top-1: verdicts and conclusions rest on it."""
    guessing: float | None = None
    """What the most frequent class as the answer to everything reaches on the same samples; of FP32 rows."""
    comparison: PairedComparison | None = None
    """With FP32 on the same samples, by randomization and bootstrap over samples."""

    @property
    def drop(self) -> float | None:
        """What was lost against FP32 (positive: this row is worse), whichever way is better."""
        return None if self.comparison is None else self.comparison.loss
