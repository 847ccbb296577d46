"""`mse`: the smallest mean squared quantization error."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from harness.quantization.calibrators.base import Calibrator
from harness.quantization.histogram import BINS, Histogram

START_BIN = 128
"""The smallest candidate, as in NVIDIA's calibrator."""


@dataclass(frozen=True)
class MeanSquaredError(Calibrator):
    """The bin edge with the smallest mean of (x - fake_quantize(x))**2, clipping included.

    Source: the `mse` method of NVIDIA's pytorch-quantization histogram calibrator.
    """

    name: ClassVar[str] = "mse"

    def choose(self, histogram: Histogram, levels: int) -> float:
        """In units of x."""
        best = best_bin if levels <= BINS else best_bin_of_fine_steps
        return best(histogram.used_counts, levels) * histogram.bin_width


CALIBRATOR = MeanSquaredError()


def best_bin(counts: npt.NDArray[np.int64], levels: int, start_bin: int = START_BIN) -> int:
    """Number of bins whose upper edge, taken as amax, gives the smallest squared error at the bin centres.

    The error at the bin centres c with counts n is sum(n (c - q)**2) = S2 - 2 sum(n c q) + sum(n q**2). The quantized
    value q rises by one step at each rounding boundary, so both sums follow from prefix sums at the boundaries and
    every candidate is judged exactly at once.
    """
    if len(counts) <= start_bin:
        return len(counts)
    weights = counts.astype(np.float64)
    moments0 = np.concatenate([[0.0], np.cumsum(weights)])
    moments1 = np.concatenate([[0.0], np.cumsum(weights * (np.arange(len(counts)) + 0.5))])  # centres in bins

    kept = np.arange(start_bin, len(counts) + 1)
    boundaries = np.minimum(_boundaries(max(len(counts), BINS), levels)[kept - 1], len(counts))
    step = kept / (levels - 1)
    level = np.arange(1, levels)
    sum_level_center = (moments1[-1] - moments1.take(boundaries)).sum(axis=1)
    sum_level_squared = (moments0[-1] - moments0.take(boundaries)) @ (2.0 * level - 1.0)
    errors = step**2 * sum_level_squared - 2.0 * step * sum_level_center  # without S2, equal for all
    return int(kept[np.argmin(errors)])


def best_bin_of_fine_steps(counts: npt.NDArray[np.int64], levels: int, start_bin: int = START_BIN) -> int:
    """`best_bin` where a step is narrower than a bin, whose centre then says nothing about rounding.

    Values are taken as evenly spread over a step, so that rounding costs step**2 / 12 (Widrow 1956); what is clipped
    lies at the bin centres.
    """
    if len(counts) <= start_bin:
        return len(counts)
    kept = np.arange(start_bin, len(counts) + 1)
    centres = np.arange(len(counts)) + 0.5
    n, total, squares = (_sums_from(counts * centres**power)[kept] for power in range(3))
    clipped = squares - 2.0 * kept * total + kept.astype(np.float64) ** 2 * n
    rounded = (counts.sum() - n) * (kept / (levels - 1)) ** 2 / 12.0
    return int(kept[np.argmin(clipped + rounded)])


def _sums_from(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum of the values from each position on, and 0 behind the last one."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


@functools.lru_cache(maxsize=8)
def _boundaries(most: int, levels: int) -> npt.NDArray[np.int64]:
    """First bin that rounds to level 1, 2, … when 1, 2, … `most` bins are kept, shape (most, levels - 1)."""
    step = np.arange(1, most + 1)[:, None] / (levels - 1)
    midpoints = (np.arange(levels - 1) + 0.5) * step
    return np.maximum(np.ceil(midpoints - 0.5), 0).astype(np.int64)
