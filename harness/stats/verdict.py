"""From intervals to one of four words, and to what may be shipped."""

from __future__ import annotations

from harness.stats.terms import Interval, Verdict

SIGNIFICANCE = 0.05
"""Largest p-value that still proves a difference; the complement of the intervals' confidence."""


def is_proven(drop_ci: Interval, p_value: float, significance: float = SIGNIFICANCE) -> bool:
    """Whether a difference of accuracy is proven: the interval leaves out zero and the exact test agrees.

    Both are asked, because an approximate interval may leave out zero after a handful of discordant samples.
    """
    low, high = drop_ci
    return (low > 0 or high < 0) and p_value <= significance


def is_non_inferior(drop_ci: Interval, margin: float) -> bool:
    """Whether one comparison alone proves that the loss is smaller than the margin."""
    return drop_ci[1] < margin


def verdict_of(*, loss: bool, gain: bool, below_margin: bool, above_margin: bool) -> Verdict:
    """From what is proven to the word: a loss, a gain, a loss below the margin, a gain below the margin.

    What is proven to be a gain is no loss beyond the margin either, and the other way round.
    """
    if (below_margin or gain) and (above_margin or loss):
        return "same"
    if loss:
        return "worse"
    return "better" if gain else "inconclusive"


def latency_band(margin: float, noise_floor: float | None) -> float:
    """Relative difference of latency that proves nothing: the margin, or the session's noise where that is larger."""
    return max(margin, noise_floor or 0.0)
