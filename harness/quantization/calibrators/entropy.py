"""`entropy`: the clipped, quantized distribution stays closest to the original one."""

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
MAX_LEVELS = 128


@dataclass(frozen=True)
class Entropy(Calibrator):
    """The bin edge with the smallest Kullback-Leibler divergence between original and quantized histogram.

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017; the details (first bin replaced by the second,
    outliers added to the last bin, last of equal minima) follow NVIDIA's pytorch-quantization.
    """

    name: ClassVar[str] = "entropy"

    def choose(self, histogram: Histogram, levels: int) -> float:
        """In units of x; judged at no more than 128 levels.

        The method is defined for int8. With the 256 levels of uint8, the first 256 bins are kept without loss, and on
        activations after a ReLU it then clips several percent of all values. With more levels than bins, as with 16
        bits, every bin has a level of its own: the divergence is smallest where nothing is clipped.
        """
        if levels > BINS:
            return histogram.abs_max
        return best_bin(histogram.used_counts, min(levels, MAX_LEVELS)) * histogram.bin_width


CALIBRATOR = Entropy()


def best_bin(counts: npt.NDArray[np.int64], levels: int, start_bin: int = START_BIN) -> int:
    """Number of bins to keep so that KL(original || quantized into `levels`) is smallest.

    Every candidate is judged at once: the divergence needs only sums over the `levels` buckets that a candidate's
    bins fall into, which are differences of prefix sums.
    """
    bins = counts.astype(np.float64)
    if len(bins) <= start_bin:
        return len(bins)
    bins[0] = bins[1]
    divergences = _divergences(bins, np.arange(start_bin, len(bins) + 1), levels)
    last_minimum = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return start_bin + last_minimum


def _divergences(bins: npt.NDArray[np.float64], kept: npt.NDArray[np.int64], levels: int) -> npt.NDArray[np.float64]:
    """KL divergence for each number of kept bins; infinity where the quantized one misses the outliers' bin."""
    prefix = _prefix_sums(bins)
    total = prefix[-1]
    if total == 0:
        return np.zeros(len(kept))
    prefix_nonzero = _prefix_sums((bins > 0).astype(np.float64))
    prefix_x_log_x = _prefix_sums(_x_log_x(bins))

    edges = _bucket_edges(max(int(kept[-1]), BINS), levels)[kept - 1]
    mass = np.diff(prefix.take(edges), axis=1)
    nonzero = np.maximum(np.diff(prefix_nonzero.take(edges), axis=1), 1.0)
    # The quantized histogram spreads a bucket's mass evenly over its non-empty bins.
    log_density = np.log(np.where(mass > 0, mass, 1.0) / nonzero)
    cross = np.einsum("ij,ij->i", mass, log_density)

    inside = prefix[kept]
    outliers = total - inside
    last = bins[kept - 1]
    last_bucket = (edges[:, :-1] < kept[:, None]).sum(axis=1) - 1
    last_log_density = np.take_along_axis(log_density, last_bucket[:, None], axis=1)[:, 0]
    cross += np.where(outliers > 0, outliers * last_log_density, 0.0)
    own = prefix_x_log_x[kept - 1] + _x_log_x(last + outliers)
    divergences = (own - cross) / total - np.log(total) + np.log(np.where(inside > 0, inside, 1.0))
    return np.where((last == 0) & (outliers > 0), np.inf, divergences)


@functools.lru_cache(maxsize=8)
def _bucket_edges(most: int, levels: int) -> npt.NDArray[np.int64]:
    """First bin of each of `levels` buckets when 1, 2, … `most` bins are kept, shape (most, levels + 1)."""
    edges = np.linspace(0.0, np.arange(1, most + 1), levels + 1, axis=1)
    return np.ceil(edges).astype(np.int64)


def _prefix_sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


def _x_log_x(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x * np.log(np.where(x > 0, x, 1.0))
