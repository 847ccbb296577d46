"""Differences between two runs: figures of different sessions, each with an interval of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from harness.results import Interval, Latency

_MIN_DEGREES = 1.0
_EXACT_WIDTH = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A difference with its interval, and the evidence that it lies beyond a margin of no matter."""

    value: float
    interval: Interval
    p_value: float
    """Two-sided, of a difference that is no larger than the margin."""
    degrees: float = math.inf
    """Of freedom, of Student's t; infinite where the error is taken as normal."""


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


def latency_ratio(
    base: Latency, new: Latency, *, margin: float, confidence: float = 0.95, base_confidence: float | None = None
) -> Estimate | None:
    """Time of the new run over time of the base, each as a multiple of FP32's in its own session: above 1 is slower.

    Times of two sessions are not comparable, the ratios to FP32 that were taken side by side in each are. Their logs
    are independent; a standard error is the interval's half width over its t quantile with (processes - 1) degrees of
    freedom (rounds, where the run has one process); both are combined as by Welch (1947, Biometrika 34:28-35), with
    Satterthwaite's degrees of freedom. The p-value is of a ratio within 1 ± `margin`. None without two speedups.
    `base_confidence` is that of the base's intervals where it is another.
    """
    parts = [_log_speedup(base, base_confidence or confidence), _log_speedup(new, confidence)]
    if parts[0] is None or parts[1] is None:
        return None
    (base_log, base_error, base_degrees), (new_log, new_error, new_degrees) = parts[0], parts[1]
    value = base_log - new_log
    variance = base_error**2 + new_error**2
    if variance < _EXACT_WIDTH:
        ratio = math.exp(value)
        return Estimate(ratio, (ratio, ratio), float(abs(value) <= math.log1p(margin)))
    degrees = variance**2 / (base_error**4 / base_degrees + new_error**4 / new_degrees)
    error = math.sqrt(variance)
    arm = float(stats.t.ppf((1 + confidence) / 2, degrees)) * error
    beyond = (abs(value) - math.log1p(margin)) / error
    p_value = min(1.0, 2 * float(stats.t.sf(beyond, degrees)))
    return Estimate(math.exp(value), (math.exp(value - arm), math.exp(value + arm)), p_value, degrees)


def degrees_of(latency: Latency) -> float:
    """Degrees of freedom of a speedup: builds less one, or processes, or rounds where there was one process."""
    units = (latency.builds, latency.processes, latency.rounds)
    return max(_MIN_DEGREES, next((float(count) for count in units if count and count > 1), 1.0) - 1.0)


def _log_speedup(latency: Latency, confidence: float) -> tuple[float, float, float] | None:
    """Log of the speedup, its standard error and its degrees of freedom."""
    if latency.speedup is None or latency.speedup_ci95 is None:
        return None
    degrees = degrees_of(latency)
    if latency.speedup_ci95[0] <= 0 or math.isinf(latency.speedup_ci95[1]):
        return None  # one unit alone says nothing about the others
    low, high = map(math.log, latency.speedup_ci95)
    tail = (1 - confidence) / 2 / latency.looks
    error = (high - low) / 2 / float(stats.t.isf(tail, degrees))
    return math.log(latency.speedup), error, degrees
