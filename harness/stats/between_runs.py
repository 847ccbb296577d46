"""Differences between two runs: figures of different sessions, each with an interval of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from harness.stats.terms import Interval


@dataclass(frozen=True)
class Estimate:
    """A difference with its interval, and the evidence that it lies beyond a margin of no matter."""

    value: float
    interval: Interval
    p_value: float
    """Two-sided, of a difference that is no larger than the margin."""
    degrees: float = math.inf
    """Degrees of freedom of Student's t; infinite where the error is taken as normal."""


def at_level(value: float, interval: Interval, confidence: float, wanted: float) -> Interval:
    """An interval of another confidence, each arm as if normal; runs need not have been judged at the same."""
    if confidence == wanted:
        return interval
    factor = float(stats.norm.isf((1 - wanted) / 2) / stats.norm.isf((1 - confidence) / 2))
    return value - factor * (value - interval[0]), value + factor * (interval[1] - value)


def independent_difference(
    base: float, base_ci: Interval, new: float, new_ci: Interval, *, confidence: float = 0.95
) -> Estimate:
    """Figure of the new run minus that of the base, both independent, from their intervals alone.

    The p-value is of any difference.

    Variance estimates recovery (Zou & Donner 2008, Statistics in Medicine 27:1693-1702): each end of the difference
    uses the variance that the figures' own intervals show on that side. For two proportions with Wilson intervals it
    is Newcombe's hybrid score interval.
    """
    value = new - base
    low = value - math.hypot(new - new_ci[0], base_ci[1] - base)
    high = value + math.hypot(new_ci[1] - new, base - base_ci[0])
    towards_zero = value - low if value > 0 else high - value
    z = float(stats.norm.ppf((1 + confidence) / 2))
    p_value = 2 * float(stats.norm.sf(abs(value) / towards_zero * z)) if towards_zero > 0 else float(value == 0)
    return Estimate(value, (low, high), min(p_value, 1.0))
