"""The entropy search as NVIDIA's pytorch-quantization describes it: one candidate after the other.

Written out from the published method as an oracle for, and a comparison with, the vectorised search.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
from scipy.stats import entropy


def best_bin(counts: npt.NDArray[np.int64], levels: int, start_bin: int = 128) -> int:
    """Bins to keep so that the divergence is smallest; the last of equal minima."""
    bins = counts.astype(np.float64)
    bins[0] = bins[1]
    divergences = []
    for kept in range(start_bin, len(bins) + 1):
        edges = np.linspace(0, kept, levels + 1)
        bucket = np.digitize(range(kept), edges) - 1
        bucket[bins[:kept] == 0] = -1
        mass: Counter[int] = Counter()
        for index, number in enumerate(bucket):
            mass[number] += bins[index]
        members = Counter(bucket)
        quantized = np.zeros(kept)
        for index, number in enumerate(bucket):
            if number != -1:
                quantized[index] = mass[number] / members[number]
        reference = bins[:kept].copy()
        reference[-1] += bins[kept:].sum()
        divergences.append(entropy(reference, quantized))
    reversed_minimum = int(np.argmin(np.array(divergences)[::-1]))
    return start_bin + len(divergences) - 1 - reversed_minimum


def histogram(values: npt.NDArray[np.float64], n_bins: int) -> npt.NDArray[np.int64]:
    """Counts of |x| in equal bins up to the maximum."""
    magnitudes = np.abs(values)
    return np.histogram(magnitudes, n_bins, range=(0, magnitudes.max()))[0]
