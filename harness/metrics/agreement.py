"""`agreement`: share of test samples for which a row predicts the same class as FP32; needs no labels."""

from __future__ import annotations

from typing import ClassVar

from harness.compare.statistics import wilson_interval
from harness.metrics.base import Evidence, Metric
from harness.results import MetricValue


class AgreementMetric(Metric):
    """Without labels this stands in for accuracy: a class that changes may have been wrong before."""

    name: ClassVar[str] = "agreement"

    def compute(self, evidence: Evidence) -> MetricValue | None:
        """A share in [0, 1] with its Wilson interval; None for the FP32 row itself."""
        outputs, reference = evidence.network_outputs, evidence.reference_outputs
        if evidence.is_reference or outputs is None or reference is None:
            return None
        same = int((outputs.argmax(axis=1) == reference.argmax(axis=1)).sum())
        n = len(outputs)
        return MetricValue(
            value=same / n,
            unit="share",
            higher_is_better=True,
            ci95=wilson_interval(same, n, evidence.judgement.confidence),
            n=n,
        )


METRIC = AgreementMetric()
