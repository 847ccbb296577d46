"""The histogram of |x| that every calibrator reads: exact, order-independent, mergeable, and robust to outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

BINS = 4096
"""The range is the power of two above the maximum, so 2,048 to 4,096 bins lie below the maximum."""
OCTAVE_BINS = BINS // 2
"""Equal bins between two powers of two: as wide as the range's bins where the largest value lies, finer below."""
_SHIFT = 12
"""Bits of a float32 below its exponent and the 11 mantissa bits that number the bins of an octave."""
_BIAS = 126
"""Octave number of float32's exponent field minus the exponent of `math.frexp`."""
LOWEST = -_BIAS
"""Exponent of the octave of float32's subnormal numbers and zero."""
SET_ASIDE = 100_000
"""Among so many values, the largest may be an outlier; among fewer than `FEWEST_VALUES` none is."""
FEWEST_VALUES = 1_000
OUTLIER_OCTAVES = 3
"""How many octaves above the largest of the other values outliers begin: 8 to 16 times that value."""
OUTLIER_LEVELS = 256
"""In formats with that many levels or fewer; of more levels, each octave beside an outlier takes one bit."""

Counts = npt.NDArray[np.int64]


class Outliers(NamedTuple):
    """Values so far from all others that a range which holds them would leave the others a step or two."""

    n: int
    beyond: float
    """All outliers are at least this far from zero."""
    largest: float


@dataclass
class Histogram:
    """Counts of |x| with the exact minimum and maximum of x.

    Every octave (between two powers of two) has 2,048 equal bins of its own, so no value decides how finely others are
    counted: splitting or reordering the data gives the same counts, and one far outlier takes no resolution from the
    rest. NVIDIA's calibrator fixes the bin width with the first batch instead.
    """

    octaves: dict[int, Counts] = field(default_factory=dict)
    """Counts by exponent of `math.frexp`: octave e holds 2**(e - 1) <= |x| < 2**e; the lowest holds zero, too."""
    minimum: float = math.inf
    maximum: float = -math.inf
    n: int = 0
    """Values seen."""

    @classmethod
    def empty(cls) -> Histogram:
        """A histogram of no values."""
        return cls()

    @property
    def abs_max(self) -> float:
        """Largest |x|, exact; 0 when nothing was seen."""
        return max(-self.minimum, self.maximum, 0.0) if self.n else 0.0

    @property
    def exponent(self) -> int | None:
        """The range is 2**exponent; None until a non-zero value was seen."""
        return max(math.frexp(self.abs_max)[1], LOWEST) if self.abs_max > 0.0 else None

    @property
    def bin_width(self) -> float:
        """Width of one bin of `counts` in units of x."""
        return math.ldexp(1.0, self.exponent or 0) / BINS

    @property
    def counts(self) -> Counts:
        """Counts in `BINS` equal bins over [0, 2**exponent)."""
        counts = np.zeros(BINS, np.int64)
        top = LOWEST if self.exponent is None else self.exponent
        for exponent, bins in self.octaves.items():
            below = top - exponent
            if exponent == LOWEST:  # begins at zero: twice as wide as its name says
                np.add.at(counts, 2 * np.arange(OCTAVE_BINS) >> below, bins)
            elif OCTAVE_BINS >> below == 0:
                counts[0] += bins.sum()
            else:
                first = OCTAVE_BINS >> below
                counts[first : 2 * first] += bins.reshape(first, -1).sum(axis=1)
        return counts

    @property
    def used_counts(self) -> Counts:
        """Counts up to and including the bin of the largest |x|."""
        last = min(int(self.abs_max / self.bin_width), BINS - 1)
        return self.counts[: last + 1]

    def update(self, x: torch.Tensor) -> None:
        """Count the values of `x` (any shape); ValueError on NaN, infinity, and what float32 cannot hold."""
        values = x.detach().reshape(-1).float()
        if values.numel() == 0:
            return
        low, high = (float(v) for v in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values are not finite (NaN or infinity)")
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.n += values.numel()
        # A float32 without its sign orders like the integer of its bits: exponent, then mantissa.
        numbers = values.abs().view(torch.int32) >> _SHIFT
        first = int(numbers.min()) // OCTAVE_BINS
        found = torch.bincount(numbers - first * OCTAVE_BINS).numpy()
        found = np.pad(found, (0, -len(found) % OCTAVE_BINS)).reshape(-1, OCTAVE_BINS)
        for octave in np.flatnonzero(found.any(axis=1)):
            self._add(first + int(octave) - _BIAS, found[octave])

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram, as if its data had been seen here."""
        for exponent, bins in other.octaves.items():
            self._add(exponent, bins)
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.n += other.n

    def outliers(self, levels: int = OUTLIER_LEVELS) -> Outliers | None:
        """Values far beyond all others: at most one in `SET_ASIDE`, and at least one; None where there are none.

        With that many largest values set aside, outliers are those more than `OUTLIER_OCTAVES` octaves above the octave
        of the largest that remains. Distributions of activations reach nowhere near that. With twice the levels of a
        format, outliers begin an octave further: the others then have as many steps.
        """
        octaves = OUTLIER_OCTAVES + max(0, math.ceil(math.log2(levels / OUTLIER_LEVELS)))
        if self.n < FEWEST_VALUES:
            return None
        allowed, above = max(1, self.n // SET_ASIDE), 0
        found: list[int] = []
        for exponent in sorted(self.octaves, reverse=True):
            count = int(self.octaves[exponent].sum())
            if above + count > allowed:
                far = [outlier for outlier in found if outlier > exponent + octaves]
                return self._outliers(far) if far and exponent > LOWEST else None
            above += count
            found.append(exponent)
        return None

    def _outliers(self, exponents: list[int]) -> Outliers:
        n = sum(int(self.octaves[exponent].sum()) for exponent in exponents)
        return Outliers(n, math.ldexp(1.0, min(exponents) - 1), self.abs_max)

    def without_outliers(self, levels: int = OUTLIER_LEVELS) -> Histogram:
        """The histogram of all other values; itself where there are no outliers.

        The largest |x| is then known to the width of a bin, as its upper edge.
        """
        outliers = self.outliers(levels)
        if outliers is None:
            return self
        octaves = {e: bins for e, bins in self.octaves.items() if math.ldexp(1.0, e) <= outliers.beyond}
        top = max(octaves)
        last = int(np.flatnonzero(octaves[top])[-1])
        edge = math.ldexp(1.0 + (last + 1) / OCTAVE_BINS, top - 1)
        edge = float(np.nextafter(np.float32(edge), np.float32(0.0)))  # still in its own octave
        return Histogram(octaves, max(self.minimum, -edge), min(self.maximum, edge), self.n - outliers.n)

    def _add(self, exponent: int, bins: npt.NDArray[Any]) -> None:
        if exponent in self.octaves:
            self.octaves[exponent] = self.octaves[exponent] + bins
        else:
            self.octaves[exponent] = bins.astype(np.int64)


class _Flat(NamedTuple):
    """The non-empty bins of several histograms, one after the other."""

    owners: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int32]
    counts: Counts


def save_histograms(path: Path, histograms: Mapping[str, Histogram]) -> None:
    """Write named histograms as one compressed npz without pickles."""
    flat = [_bins(number, histogram) for number, histogram in enumerate(histograms.values())]
    fields: dict[str, Any] = {
        "names": np.array(list(histograms), dtype=np.str_),
        "owners": np.concatenate([part.owners for part in flat] or [np.zeros(0, np.int32)]),
        "numbers": np.concatenate([part.numbers for part in flat] or [np.zeros(0, np.int32)]),
        "counts": np.concatenate([part.counts for part in flat] or [np.zeros(0, np.int64)]),
        "ranges": np.array([(h.minimum, h.maximum) for h in histograms.values()], np.float64).reshape(-1, 2),
        "n": np.array([histogram.n for histogram in histograms.values()], np.int64),
    }
    np.savez_compressed(path, **fields)


def _bins(owner: int, histogram: Histogram) -> _Flat:
    exponents = sorted(histogram.octaves)
    counts = np.concatenate([histogram.octaves[e] for e in exponents] or [np.zeros(0, np.int64)])
    firsts = np.array([(e + _BIAS) * OCTAVE_BINS for e in exponents], np.int64)
    numbers = (firsts[:, None] + np.arange(OCTAVE_BINS)).ravel().astype(np.int32)
    filled = counts > 0
    return _Flat(np.full(int(filled.sum()), owner, np.int32), numbers[filled], counts[filled])


def load_histograms(path: Path) -> dict[str, Histogram]:
    """Read what `save_histograms` wrote."""
    with np.load(path, allow_pickle=False) as file:
        stored = {key: file[key] for key in file.files}
    histograms: dict[str, Histogram] = {}
    for owner, name in enumerate(stored["names"]):
        own = stored["owners"] == owner
        low, high = (float(value) for value in stored["ranges"][owner])
        octaves = _octaves(stored["numbers"][own], stored["counts"][own])
        histograms[str(name)] = Histogram(octaves, low, high, int(stored["n"][owner]))
    return histograms


def _octaves(numbers: npt.NDArray[np.int32], counts: Counts) -> dict[int, Counts]:
    octaves: dict[int, Counts] = {}
    for octave in np.unique(numbers // OCTAVE_BINS):
        bins = np.zeros(OCTAVE_BINS, np.int64)
        own = numbers // OCTAVE_BINS == octave
        bins[numbers[own] % OCTAVE_BINS] = counts[own]
        octaves[int(octave) - _BIAS] = bins
    return octaves
