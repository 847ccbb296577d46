"""`accuracy`: top-1 on the test samples, and the paired difference to FP32."""

from __future__ import annotations

from typing import ClassVar

from harness.compare.statistics import paired_difference, wilson_interval
from harness.compare.verdict import accuracy_verdict
from harness.metrics.base import Evidence, Metric
from harness.results import Accuracy


class AccuracyMetric(Metric):
    """Every row is judged on the same samples as its FP32 row."""

    name: ClassVar[str] = "accuracy"
    section: ClassVar[str | None] = "accuracy"

    def compute(self, evidence: Evidence) -> Accuracy | None:
        """Shares in [0, 1]; None without labels."""
        correct = evidence.correct
        if correct is None:
            return None
        judgement = evidence.judgement
        n = len(correct)
        plain = Accuracy(
            top1=float(correct.mean()),
            n=n,
            top1_ci95=wilson_interval(int(correct.sum()), n, judgement.confidence),
        )
        reference, outputs = evidence.reference_outputs, evidence.network_outputs
        if evidence.is_reference or reference is None or outputs is None or evidence.labels is None:
            return plain
        reference_correct = reference.argmax(axis=1) == evidence.labels
        difference = paired_difference(reference_correct, correct, confidence=judgement.confidence, seed=judgement.seed)
        return plain.model_copy(
            update={
                "reference": evidence.reference_id,
                "drop": difference.drop,
                "drop_ci95": difference.drop_ci,
                "p_value": difference.p_value,
                "agreement": float((reference.argmax(axis=1) == outputs.argmax(axis=1)).mean()),
                "margin": judgement.accuracy_margin,
                "verdict": accuracy_verdict(
                    difference.drop_ci, difference.p_value, judgement.accuracy_margin, 1.0 - judgement.confidence
                ),
            }
        )


METRIC = AccuracyMetric()
