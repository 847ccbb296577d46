"""The histogram of |x| that every calibrator reads: exact, order-independent, mergeable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

BINS = 4096
"""The range is the power of two above the maximum, so 2,048 to 4,096 bins lie below the maximum."""
HISTC_CHUNK = 1 << 24
"""`torch.histc` counts in float32, which is exact up to 2**24 per call."""


@dataclass
class Histogram:
    """Counts of |x| in `BINS` equal bins over [0, range), with the exact minimum and maximum of x.

    The range is always a power of two, so a wider histogram is reached by adding neighbouring bins: splitting or
    reordering the data gives the same counts. NVIDIA's calibrator fixes the bin width with the first batch instead.
    """

    counts: npt.NDArray[np.int64]
    exponent: int | None
    """The range is 2**exponent; None until a non-zero value was seen."""
    minimum: float
    maximum: float
    n: int
    """Values seen."""

    @classmethod
    def empty(cls) -> Histogram:
        """A histogram of no values."""
        return cls(np.zeros(BINS, np.int64), None, math.inf, -math.inf, 0)

    @property
    def abs_max(self) -> float:
        """Largest |x|, exact; 0 when nothing was seen."""
        return max(-self.minimum, self.maximum, 0.0) if self.n else 0.0

    @property
    def bin_width(self) -> float:
        """Width of one bin in units of x."""
        return math.ldexp(1.0, (self.exponent or 0)) / BINS

    @property
    def used_counts(self) -> npt.NDArray[np.int64]:
        """Counts up to and including the bin of the largest |x|."""
        last = min(int(self.abs_max / self.bin_width), BINS - 1)
        return self.counts[: last + 1]

    def update(self, x: torch.Tensor) -> None:
        """Count the values of `x` (any shape); ValueError on NaN or infinity."""
        values = x.detach().reshape(-1).float()
        if values.numel() == 0:
            return
        low, high = (float(v) for v in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values are not finite (NaN or infinity)")
        self._widen(max(-low, high))
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.n += values.numel()
        if self.exponent is None:  # only zeros so far; the first bin always holds them
            self.counts[0] += values.numel()
            return
        for chunk in torch.split(values.abs(), HISTC_CHUNK):
            counted = torch.histc(chunk, BINS, min=0.0, max=math.ldexp(1.0, self.exponent))
            self.counts += counted.to(torch.int64).numpy()

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram, as if its data had been seen here."""
        if other.n == 0:
            return
        self._widen(other.abs_max)
        wider = Histogram(other.counts.copy(), other.exponent, other.minimum, other.maximum, other.n)
        wider._widen(self.abs_max)
        self.counts += wider.counts
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.n += other.n

    def _widen(self, abs_max: float) -> None:
        if abs_max == 0.0:
            return
        needed = math.frexp(abs_max)[1]  # abs_max < 2**needed
        if self.exponent is None:
            self.exponent = needed
        while self.exponent < needed:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, np.int64)])
            self.exponent += 1


def save_histograms(path: Path, histograms: dict[str, Histogram]) -> None:
    """Write named histograms as one compressed npz without pickles."""
    names = list(histograms)
    fields: dict[str, Any] = {
        "names": np.array(names, dtype=np.str_),
        "counts": np.stack([histograms[n].counts for n in names]) if names else np.zeros((0, BINS), np.int64),
        "exponents": np.array(
            [float("nan") if (e := histograms[n].exponent) is None else e for n in names], np.float64
        ),
        "ranges": np.array([(histograms[n].minimum, histograms[n].maximum) for n in names], np.float64).reshape(-1, 2),
        "n": np.array([histograms[n].n for n in names], np.int64),
    }
    np.savez_compressed(path, **fields)


def load_histograms(path: Path) -> dict[str, Histogram]:
    """Read what `save_histograms` wrote."""
    with np.load(path, allow_pickle=False) as file:
        stored = {key: file[key] for key in file.files}
    return {
        str(name): Histogram(
            counts=stored["counts"][i].copy(),
            exponent=None if math.isnan(stored["exponents"][i]) else int(stored["exponents"][i]),
            minimum=float(stored["ranges"][i, 0]),
            maximum=float(stored["ranges"][i, 1]),
            n=int(stored["n"][i]),
        )
        for i, name in enumerate(stored["names"])
    }
