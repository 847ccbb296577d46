"""A metric of the scenarios here: how far quantization moved a network's outputs."""

from __future__ import annotations

import math

from harness.metrics.base import Evidence, Metric
from harness.parity.chain import agreement
from harness.results import MetricValue


class Sqnr(Metric):
    """Signal-to-quantization-noise ratio of the outputs against FP32 on the same target and test samples."""

    name = "sqnr"
    unit = "dB"
    header = "SQNR"

    def compute(self, evidence: Evidence) -> MetricValue | None:
        """In dB; None for FP32 itself, and where nothing differs."""
        outputs, reference = evidence.network_outputs, evidence.reference_outputs
        if evidence.is_reference or outputs is None or reference is None:
            return None
        found = agreement(reference, outputs).sqnr_db
        if found is None or not math.isfinite(found):
            return None
        return MetricValue(value=found, unit=self.unit, higher_is_better=True, n=len(outputs))
