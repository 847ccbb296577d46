"""Errors and their ratio to the signal, where values may be NaN or infinite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]


def error_of(expected: Values, other: Values) -> Values:
    """How far `other` is off; infinite where one side alone is NaN or infinite, zero where both are alike."""
    with np.errstate(invalid="ignore"):
        error = other - expected
    alike = (other == expected) | (np.isnan(other) & np.isnan(expected))
    return np.where(alike, 0.0, np.where(np.isfinite(error), error, np.inf))


def decibels(signal: float, noise: float) -> float | None:
    """Ratio of two powers; None without noise or without signal, minus infinity for infinite noise."""
    if math.isinf(noise):
        return -math.inf
    return None if noise == 0 or signal == 0 else 10.0 * math.log10(signal / noise)
