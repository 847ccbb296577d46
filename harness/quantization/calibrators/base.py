"""The contract of a calibrator: from the histogram of |x| to the clipping range amax."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from harness.quantization.histogram import Histogram


@dataclass(frozen=True)
class Calibrator(ABC):
    """Chooses amax, the largest |x| that the quantized format still represents.

    A calibrator is one file in this folder that defines `CALIBRATOR`, an instance or a subclass of this class, or a
    plug-in. Its fields are its parameters; all have defaults.
    """

    name: ClassVar[str]
    drops_outliers: ClassVar[bool] = True
    """Whether values far beyond all others (`Histogram.outliers`) are left out before anything is chosen."""

    def amax(self, histogram: Histogram, levels: int, *, keep_outliers: bool = False) -> float:
        """Amax in units of x, in (0, |x|max]; 0 when nothing but zeros was seen.

        `levels` is the number of non-negative steps of the format: 128 for int8, 256 for uint8, 65,536 for uint16.
        `keep_outliers` is for weights: each of them is part of the network, however large.
        """
        if histogram.exponent is None:
            return 0.0
        seen = histogram.without_outliers(levels) if self.drops_outliers and not keep_outliers else histogram
        return min(self.choose(seen, levels), seen.abs_max)

    @abstractmethod
    def choose(self, histogram: Histogram, levels: int) -> float:
        """Amax for a histogram that holds at least one non-zero value."""
