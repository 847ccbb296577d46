"""`percentile`: a fixed share of the values is clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.quantization.calibrators.base import Calibrator
from harness.quantization.histogram import Histogram
from harness.quantization.settings import DEFAULT_PERCENTILE


@dataclass(frozen=True)
class Percentile(Calibrator):
    """The upper edge of the bin that holds the given percentile of |x|."""

    name: ClassVar[str] = "percentile"
    percentile: float = DEFAULT_PERCENTILE
    """In percent, above 0 and up to 100."""

    def __post_init__(self) -> None:
        if not 0.0 < self.percentile <= 100.0:
            raise ValueError(f"percentile must lie in (0, 100], not {self.percentile}")

    def choose(self, histogram: Histogram, levels: int) -> float:
        """In units of x; never below the upper edge of the first bin."""
        cumulative = np.cumsum(histogram.counts)
        wanted = self.percentile / 100.0 * histogram.n
        # A relative slack of one part in 1e12 keeps 90 % of 100 values at 90, not at 91.
        index = int(np.searchsorted(cumulative, wanted * (1.0 - 1e-12)))
        return (index + 1) * histogram.bin_width


CALIBRATOR = Percentile()
