"""What counts as proven: the settings of verdicts."""

from __future__ import annotations

from typing import Literal

from harness.fields import Confidence, Fraction, Section
from harness.figures import SHARE_MARGIN, TIME_MARGIN


class Judgement(Section):
    """What counts as proven."""

    confidence: Confidence = 0.95
    """Level of all intervals."""
    accuracy_margin: Fraction = SHARE_MARGIN.size
    """Loss of top-1 (a share, 0.005 is half a point) that still counts as the same."""
    latency_margin: Fraction = TIME_MARGIN.size
    """Relative difference of latency that still counts as the same."""
    correction: Literal["holm", "none"] = "holm"
    """Correction of p-values for the number of rows in the run: `holm` controls the family-wise error rate; with `none`
    each row is judged as if it were the only one. Intervals are never corrected."""
