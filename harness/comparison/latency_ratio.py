"""Latency of one variant in two runs, whose sessions have nothing in common but FP32."""

from __future__ import annotations

import math

from scipy import stats

from harness.results import Latency
from harness.stats.between_runs import Estimate

_MIN_DEGREES = 1.0
_EXACT_WIDTH = 1e-12


def latency_ratio(base: Latency, new: Latency, *, margin: float, confidence: float = 0.95) -> Estimate | None:
    """Time of the new run over time of the base, each as a multiple of FP32's in its own session: above 1 is slower.

    Times of two sessions are not comparable, the ratios to FP32 that were taken side by side in each are. Their logs
    are independent; a standard error is the interval's half width over its t quantile with (processes - 1) degrees of
    freedom (rounds, where the run has one process); both are combined as by Welch (1947, Biometrika 34:28-35), with
    Satterthwaite's degrees of freedom. The p-value is of a ratio within 1 ± `margin`. None without two speedups.
    `confidence` is of the result.
    """
    parts = [_log_speedup(base), _log_speedup(new)]
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


def _log_speedup(latency: Latency) -> tuple[float, float, float] | None:
    """Log of the speedup, its standard error and its degrees of freedom."""
    interval = latency.speedup_interval
    if latency.speedup is None or interval is None:
        return None
    degrees = degrees_of(latency)
    if interval.low <= 0 or math.isinf(interval.high):
        return None  # one unit alone says nothing about the others
    low, high = map(math.log, interval.ends)
    tail = (1 - interval.confidence) / 2 / latency.analyses
    error = (high - low) / 2 / float(stats.t.isf(tail, degrees))
    return math.log(latency.speedup), error, degrees
