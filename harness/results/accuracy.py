"""How good the predictions of a variant are."""

from __future__ import annotations

from harness.results.base import Record
from harness.stats.terms import Interval, Verdict


class ClassAccuracy(Record):
    """Recall of one class: the share of its test samples that are predicted as it."""

    label: int
    name: str | None = None
    """Of the class; None where it has none."""
    n: int
    """Test samples of the class."""
    recall: float
    recall_ci95: Interval
    drop: float | None = None
    """FP32 recall minus this row's, on the same samples."""
    drop_ci95: Interval | None = None
    p_value: float | None = None
    """Exact McNemar test among the samples of the class."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for the classes of the row."""


class Accuracy(Record):
    """Top-1 on the test samples, and the paired difference to the FP32 row."""

    top1: float
    n: int
    top1_ci95: Interval
    reference: str | None = None
    """Variant id of the FP32 row this row is paired with; None for that row itself."""
    drop: float | None = None
    """FP32 top-1 minus this row's (positive: this row lost)."""
    drop_ci95: Interval | None = None
    p_value: float | None = None
    """Exact McNemar test of equal error rates."""
    agreement: float | None = None
    """Share of samples where this row predicts the same class as FP32."""
    margin: float | None = None
    """Non-inferiority margin that the verdict used."""
    verdict: Verdict | None = None
    """Holds for all rows of the run at once, by the p-values that are adjusted."""
    drop_bootstrap_ci95: Interval | None = None
    """Percentile bootstrap beside the score interval; None where no sample tells this row from FP32."""
    non_inferiority_p_value: float | None = None
    """One-sided score test of a loss of `margin` or more."""
    non_superiority_p_value: float | None = None
    """One-sided score test of a gain of `margin` or more."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for the `family_size` rows of the run; so are the next two."""
    non_inferiority_p_value_adjusted: float | None = None
    non_superiority_p_value_adjusted: float | None = None
    family_size: int | None = None
    """Rows of the run that were compared with an FP32 row."""
    is_non_inferior: bool | None = None
    """Whether the loss is proven to be smaller than the margin, for all rows of the run at once."""
    agreement_ci95: Interval | None = None
    top5: float | None = None
    """Share of samples whose class is among the five largest outputs; None with five classes or fewer."""
    top5_ci95: Interval | None = None
    top5_drop: float | None = None
    """FP32 top-5 minus this row's."""
    top5_drop_ci95: Interval | None = None
    top5_p_value: float | None = None
    classes: tuple[ClassAccuracy, ...] = ()
    """One entry per class that has test samples."""


class MetricValue(Record):
    """A figure of a metric that has no section of its own."""

    value: float
    unit: str
    higher_is_better: bool
    header: str | None = None
    """Of its column in tables; None: its name. As the next one, from the class of the metric."""
    definition: str | None = None
    """One sentence."""
    ci95: Interval | None = None
    n: int | None = None
    """Samples that the figure is of."""
    is_quality: bool = False
    """It says how good the predictions are, where the task has no top-1: verdicts and conclusions rest on it."""
    guessing: float | None = None
    """What the most frequent class as the answer to everything reaches on the same samples; of FP32 rows."""
    reference: str | None = None
    """Variant id of the FP32 row it is paired with; None for that row itself."""
    drop: float | None = None
    """What was lost against FP32 on the same samples (positive: this row is worse), whichever way is better."""
    drop_ci95: Interval | None = None
    p_value: float | None = None
    """Of a difference: randomization test over samples."""
    non_inferiority_p_value: float | None = None
    non_superiority_p_value: float | None = None
    """Of a loss, and of a gain, of `margin` or more: bootstrap over samples."""
    p_value_adjusted: float | None = None
    """Corrected by Holm's method for the `family_size` rows of the run; so are the next two."""
    non_inferiority_p_value_adjusted: float | None = None
    non_superiority_p_value_adjusted: float | None = None
    family_size: int | None = None
    is_non_inferior: bool | None = None
    margin: float | None = None
    verdict: Verdict | None = None
