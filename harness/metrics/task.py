"""The contract of a metric for a task beyond classification: torchmetrics computes it, the harness judges it.

Such a metric is one file in this folder:

    class MeanIou(TaskMetric):
        name = "mean_iou"
        tasks = frozenset({"segmentation"})
        unit = "share"

        def make(self, n_classes):
            return JaccardIndex(task="multiclass", num_classes=n_classes)

    METRIC = MeanIou()
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from harness.metrics.base import Evidence, Metric
from harness.results import ConfidenceInterval, MetricValue, PairedComparison

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    import torchmetrics

    from harness.stats.resampling import SampleStates

RESAMPLES = 2_000
"""Each computes the metric twice. The smallest p-value is 1 / 2,001."""
MIN_DIFFERENT = 10
"""Samples on which a row and FP32 must differ for an interval: the bootstrap never draws what was not observed, and
would prove equality by a few samples that are alike."""


class TaskMetric(Metric):
    """Compares every row with FP32 on the same samples; a sample is drawn, or exchanged, with all that is in it."""

    margin: ClassVar[float | None] = None
    """Loss that still counts as the same; None: the scenario's `verdict.accuracy_margin`."""

    @abstractmethod
    def make(self, n_classes: int) -> torchmetrics.Metric:
        """A new metric whose value is one number."""

    def inputs(
        self, outputs: npt.NDArray[np.float32], labels: npt.NDArray[np.generic]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predictions and targets for `update`, the first axis being the samples; by default classes and labels."""
        import torch

        return torch.from_numpy(outputs.argmax(axis=1)), torch.from_numpy(labels)

    def states(self, outputs: npt.NDArray[np.float32], labels: npt.NDArray[np.generic]) -> SampleStates:
        """The metric's state for every sample."""
        from harness.stats.resampling import SampleStates  # imports torch

        return SampleStates(self.make(outputs.shape[1]), *self.inputs(outputs, labels))

    def guessing(self, outputs: npt.NDArray[np.float32], labels: npt.NDArray[np.generic]) -> float | None:
        """The metric where the most frequent class is the answer to everything; None where labels are no classes."""
        if not np.issubdtype(labels.dtype, np.integer):
            return None
        n_classes, classes = outputs.shape[1], labels.astype(np.int64).ravel()
        counts = np.bincount(classes[(classes >= 0) & (classes < n_classes)], minlength=n_classes)
        answer = np.zeros((1, n_classes, *[1] * (outputs.ndim - 2)), np.float32)
        answer[:, counts.argmax()] = 1
        return self.states(np.broadcast_to(answer, outputs.shape), labels).value()

    def compute(self, evidence: Evidence) -> MetricValue | None:
        """The value and its paired loss against FP32; None without outputs or labels."""
        outputs, labels, judgement = evidence.network_outputs, evidence.labels, evidence.judgement
        if outputs is None or labels is None:
            return None
        own = self.states(outputs, labels)
        rng = np.random.default_rng(evidence.seed)
        n = len(labels)
        draws = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        values = np.array([own.value(counts) for counts in draws])
        plain = MetricValue(
            value=own.value(),
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            interval=_interval(values, judgement.confidence),
            n=n,
            is_quality=True,
        )
        if evidence.is_reference or evidence.reference_outputs is None:
            return plain.model_copy(update={"guessing": self.guessing(outputs, labels)})
        reference = self.states(evidence.reference_outputs, labels)
        sign = 1.0 if self.higher_is_better else -1.0
        loss = sign * (reference.value() - plain.value)
        margin = judgement.accuracy_margin if self.margin is None else self.margin
        compared = PairedComparison(
            reference=evidence.reference_id,
            value=plain.value,
            reference_value=reference.value(),
            difference=plain.value - reference.value(),
            higher_is_better=self.higher_is_better,
            margin=margin,
        )
        if own.n_different(reference) < MIN_DIFFERENT:
            return plain.model_copy(update={"comparison": compared})
        differences = values - np.array([reference.value(counts) for counts in draws])
        tests = _tests(reference, own, loss, -sign * differences, margin, rng)
        found = {
            "interval": _interval(differences, judgement.confidence),
            "p_value": tests.difference,
            "non_inferiority_p_value": tests.non_inferiority,
            "non_superiority_p_value": tests.non_superiority,
        }
        return plain.model_copy(update={"comparison": compared.model_copy(update=found)})


class _Tests(NamedTuple):
    difference: float
    non_inferiority: float
    non_superiority: float


def _tests(
    reference: SampleStates,
    own: SampleStates,
    loss: float,
    losses: npt.NDArray[np.float64],
    margin: float,
    rng: np.random.Generator,
) -> _Tests:
    """Whether there is a difference: randomization, each sample's two results exchanged with probability one half.

    Whether it is smaller than the margin: the share of bootstrap losses beyond it (Efron & Tibshirani 1993, ch. 16).
    The observed data count as one draw, so that no p-value is zero (Phipson & Smyth 2010).
    """
    swaps = rng.random((len(losses), reference.n)) < 0.5
    exchanged = [reference.mixed(own, swap) - own.mixed(reference, swap) for swap in swaps]
    # Rounding must not make equal differences unequal.
    as_large = np.abs(exchanged) >= abs(loss) - 1e-9
    return _Tests(
        difference=_share(as_large),
        non_inferiority=_share(losses >= margin),
        non_superiority=_share(losses <= -margin),
    )


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return float((1 + flags.sum()) / (1 + len(flags)))


def _interval(values: npt.NDArray[np.float64], confidence: float) -> ConfidenceInterval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return ConfidenceInterval(low=float(low), high=float(high), confidence=confidence)
