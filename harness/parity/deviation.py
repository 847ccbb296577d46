"""How far one layer is off, in steps of its quantizer, and when that is more than honest rounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.parity.comparison_points import ComparisonPoint
from harness.parity.noise import decibels, error_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from harness.parity.onnx_graph import Array

LARGEST_HONEST_STEPS = 1.0
"""Two correct roundings of one number that is known up to less than half a step differ by one step at most."""
HONEST_NOISE_STEPS2 = 1.0 / 12.0
"""Mean squared error of rounding itself, in squared steps (Widrow 1956). Two executors of one layer round nearly the
same numbers: they differ only where one of those lies within float rounding of the border between two integers."""
FLOAT_STEPS = 127
"""A float output has no step of its own: it is judged as if 8 signed bits covered each channel."""
SMALLEST_CHANNEL = 1.0 / 128.0
"""A channel of a float output counts as at least this large, relative to the largest: float rounding depends on the
sums that cancelled out, not on what was left of them."""


@dataclass
class Deviation:
    """Differences at one comparison point over many batches, by channel."""

    point: ComparisonPoint
    _signal: float = 0.0
    _noise: float = 0.0
    _n: int = 0
    _amax: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _largest: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _squares: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _per_channel: int = 0

    def update(self, reference: Array, other: Array) -> None:
        """Add one batch."""
        expected = by_channel(reference) - self.point.zero_point
        error = error_of(expected, by_channel(other) - self.point.zero_point)
        expected = np.where(np.isfinite(expected), expected, 0.0)
        if not self._n:
            self._amax, self._largest, self._squares = (np.zeros(expected.shape[1]) for _ in range(3))
        self._amax = np.maximum(self._amax, np.abs(expected).max(axis=0, initial=0.0))
        self._largest = np.maximum(self._largest, np.abs(error).max(axis=0, initial=0.0))
        self._squares += np.square(error).sum(axis=0)
        self._signal += float(np.square(expected).sum())
        self._noise += float(np.square(error).sum())
        self._per_channel += len(expected)
        self._n += expected.size

    @property
    def sqnr_db(self) -> float | None:
        """SQNR of the whole tensor; None when both are identical, or when there is no signal."""
        return decibels(self._signal, self._noise)

    @property
    def largest_steps(self) -> npt.NDArray[np.float64]:
        """Largest error of each channel."""
        return self._largest / self._step

    @property
    def noise_steps2(self) -> npt.NDArray[np.float64]:
        """Mean squared error of each channel."""
        return self._squares / max(self._per_channel, 1) / np.square(self._step)

    @property
    def n_values(self) -> int:
        """Values that were compared, in all channels."""
        return self._n

    @property
    def mean_noise_steps2(self) -> float:
        """Mean squared error of all channels together."""
        return float(self.noise_steps2.mean()) if self._n else 0.0

    @property
    def faulty_channels(self) -> list[int]:
        """Channels that differ by more than honest rounding can explain."""
        off = (self.largest_steps > LARGEST_HONEST_STEPS) | (self.noise_steps2 > HONEST_NOISE_STEPS2)
        return [int(channel) for channel in np.flatnonzero(off)]

    @property
    def _step(self) -> npt.NDArray[np.float64]:
        if self.point.kind == "quantized":
            return np.ones_like(self._amax)
        largest = max(float(self._amax.max(initial=0.0)), float(np.finfo(np.float32).tiny))
        return np.maximum(self._amax, largest * SMALLEST_CHANNEL) / FLOAT_STEPS


def by_channel(values: Array) -> npt.NDArray[np.float64]:
    """(rows, channels): channels are on axis 1 of images and matrices, on the last axis of sequences."""
    if values.ndim < 2:
        return values.reshape(-1, 1).astype(np.float64)
    axis = -1 if values.ndim == 3 else 1
    moved = np.moveaxis(values, axis, -1)
    return moved.reshape(-1, moved.shape[-1]).astype(np.float64)
