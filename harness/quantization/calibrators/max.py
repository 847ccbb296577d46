"""`max`: nothing is clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.quantization.calibrators.base import Calibrator
from harness.quantization.histogram import Histogram


@dataclass(frozen=True)
class Max(Calibrator):
    """The largest |x| that was seen."""

    name: ClassVar[str] = "max"
    drops_outliers: ClassVar[bool] = False

    def choose(self, histogram: Histogram, levels: int) -> float:
        """Exact |x|max, not a bin edge."""
        return histogram.abs_max


CALIBRATOR = Max()
