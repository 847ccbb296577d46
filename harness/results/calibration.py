"""What calibration saw, and which ranges were chosen from it."""

from __future__ import annotations

from harness.results.base import Record


class CalibratedTensor(Record):
    """The values of one activation in the calibration samples."""

    name: str
    """Node of the captured network that computes it."""
    n: int
    """Values seen."""
    minimum: float
    maximum: float
    counts: tuple[int, ...]
    """Counts of absolute values, in equal bins from 0 to the largest."""


class ChosenRanges(Record):
    """Ranges that some variants have in common."""

    variants: tuple[str, ...]
    """Ids of those that have them."""
    amax: dict[str, float]
    """Largest absolute value that is not clipped, by name of the tensor; in the tensor's units."""


class Calibration(Record):
    """One pass over the calibration samples, which served all calibrators."""

    model: str
    place: str
    """Target and, where one is named, device: it decides which tensors are quantized."""
    tensors: tuple[CalibratedTensor, ...]
    ranges: tuple[ChosenRanges, ...]
