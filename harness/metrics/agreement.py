"""`agreement`: share of test samples for which a row predicts the same class as FP32; needs no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.figures import AGREEMENT, figure
from harness.metrics.base import Evidence, Metric
from harness.results import ConfidenceInterval, MetricValue
from harness.stats.intervals import wilson_interval

if TYPE_CHECKING:
    import numpy.typing as npt

_RESAMPLES = 2_000


class AgreementMetric(Metric):
    """Without labels this replaces accuracy. A class that changes may have been wrong before."""

    name: ClassVar[str] = AGREEMENT
    unit: ClassVar[str] = "share"
    header: ClassVar[str | None] = "Agreement"
    definition: ClassVar[str | None] = figure("accuracy.agreement").definition

    def compute(self, evidence: Evidence) -> MetricValue | None:
        """A share in [0, 1] with its Wilson interval; None for the FP32 row itself."""
        outputs, reference = evidence.network_outputs, evidence.reference_outputs
        if evidence.is_reference or outputs is None or reference is None:
            return None
        equal = outputs.argmax(axis=1) == reference.argmax(axis=1)
        if equal.ndim > 1:
            return _of_pixels(equal.reshape(len(equal), -1).mean(axis=1), evidence)
        same, n, confidence = int(equal.sum()), len(outputs), evidence.judgement.confidence
        return MetricValue(
            value=same / n,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            interval=ConfidenceInterval.of(wilson_interval(same, n, confidence), confidence),
            n=n,
        )


def _of_pixels(shares: npt.NDArray[np.float64], evidence: Evidence) -> MetricValue:
    """From the share of each image; the pixels of one image are not independent, so that images are drawn again."""
    rng = np.random.default_rng(evidence.seed)
    means = rng.choice(shares, (_RESAMPLES, len(shares))).mean(axis=1)
    low, high = np.quantile(means, [(1 - evidence.judgement.confidence) / 2, (1 + evidence.judgement.confidence) / 2])
    return MetricValue(
        value=float(shares.mean()),
        unit="share of pixels",
        higher_is_better=True,
        interval=ConfidenceInterval(low=float(low), high=float(high), confidence=evidence.judgement.confidence),
        n=len(shares),
    )


METRIC = AgreementMetric()
