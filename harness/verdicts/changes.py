"""The verdicts on changes from one run to another: a figure on its own, once its p-value is corrected for all."""

from __future__ import annotations

from harness.stats.terms import Interval, Verdict


def by_interval(gain: Interval, margin: float, test_agrees: bool) -> Verdict:
    """Of a gain: within the margin is the same; else zero is left out and the test agrees."""
    low, high = gain
    if -margin < low and high < margin:
        return "same"
    if not test_agrees or low <= 0 <= high:
        return "inconclusive"
    return "better" if low > 0 else "worse"


def by_value(gain: float, margin: float) -> Verdict:
    """Verdict on a figure without noise."""
    if abs(gain) <= margin:
        return "same"
    return "better" if gain > 0 else "worse"


def of_time_ratio(ratio: float, interval: Interval, margin: float, is_proven: bool) -> Verdict:
    """Verdict on new time over old time; noise is no reason to call two engines the same."""
    low, high = interval
    if 1 / (1 + margin) < low and high < 1 + margin:
        return "same"
    if not is_proven:
        return "inconclusive"
    return "worse" if ratio > 1 else "better"
