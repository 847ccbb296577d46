"""Intervals and tests behind every verdict; numpy and scipy do the arithmetic.

All intervals are two-sided with nominal coverage `confidence`; all functions are deterministic for a given `seed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from harness.stats.terms import Interval

DEFAULT_RESAMPLES = 10_000
_PROBABILITY_EPSILON = 1e-12


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of a reference minus accuracy of a variant on the same samples: a loss is positive."""

    n: int
    only_reference_correct: int
    only_variant_correct: int
    drop: float
    drop_ci: Interval
    """Tango's score interval."""
    p_value: float
    """Exact McNemar test of equal error rates."""
    bootstrap_ci: Interval | None
    """Percentile bootstrap over samples; None where the two differ on no sample, as it would then have no width."""

    def margin_tests(self, margin: float) -> MarginTests:
        """Score tests of a loss, and of a gain, of `margin` or more."""
        counts = self.only_reference_correct, self.only_variant_correct, self.n
        edge = min(margin, 1 - _PROBABILITY_EPSILON)
        return MarginTests(
            non_inferiority=float(stats.norm.cdf(tango_score(*counts, edge))),
            non_superiority=float(stats.norm.sf(tango_score(*counts, -edge))),
        )


class MarginTests(NamedTuple):
    """One-sided p-values; `drop_ci` at level 1 - 2 p just touches the margin."""

    non_inferiority: float
    """Small: the loss is smaller than the margin."""
    non_superiority: float
    """Small: the gain is smaller than the margin."""


@dataclass(frozen=True)
class QuantileEstimate:
    """A quantile of a sample and the order statistics that bound the true one."""

    value: float
    ci: Interval
    n: int


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927, JASA 22:209-212), both ends within [0, 1]."""
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(only_a_correct: int, only_b_correct: int) -> float:
    """Two-sided exact p-value of equal error rates, from the two discordant counts; 1.0 when there are none.

    Under the null each discordant pair falls to either side with probability 1/2 (McNemar 1947,
    Psychometrika 12:153-157; exact form as in Fagerland et al. 2013, BMC Med Res Methodol 13:91).
    """
    discordant = only_a_correct + only_b_correct
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(only_a_correct, discordant, 0.5).pvalue)


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    """p-values of one family of tests, adjusted by Holm's step-down method, in the order given.

    To reject what has an adjusted value of at most alpha errs in one or more true hypotheses with a probability of at
    most alpha, however the tests depend on one another (Holm 1979, Scandinavian Journal of Statistics 6:65-70). The
    i-th smallest of m values becomes the largest (m - j + 1) p_(j) with j <= i, and at most 1. ValueError for values
    that are no probabilities.
    """
    values = np.asarray(p_values, float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("p-values are between 0 and 1")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return tuple(adjusted.tolist())


def paired_difference(
    reference_correct: ArrayLike,
    correct: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Difference of accuracy, reference minus variant, with its interval and the exact McNemar test.

    Both arguments are one boolean per sample, in the same order: whether the prediction was right. ValueError when
    their lengths differ or are zero. All of it depends on the two counts of discordant samples only.

    The interval is Tango's score interval whatever the counts: it covers 93.1 to 96.6 % wherever six or more
    discordant samples are expected, 92.9 to 100 % below (`docs/results/measurement.md`), is never of zero width, and
    its test of a margin agrees with it. The percentile bootstrap (Efron & Tibshirani 1993, ch. 13) stands beside it.
    """
    reference, variant = _as_flags(reference_correct), _as_flags(correct)
    if reference.size != variant.size or reference.size == 0:
        raise ValueError(f"a paired difference needs equally many samples, not {reference.size} and {variant.size}")
    n = int(reference.size)
    lost = int(np.count_nonzero(reference & ~variant))
    won = int(np.count_nonzero(~reference & variant))
    return PairedDifference(
        n=n,
        only_reference_correct=lost,
        only_variant_correct=won,
        drop=(lost - won) / n,
        drop_ci=tango_interval(lost, won, n, confidence),
        p_value=mcnemar_exact(lost, won),
        bootstrap_ci=_bootstrap_interval(lost, won, n, confidence, resamples, seed),
    )


def _bootstrap_interval(lost: int, won: int, n: int, confidence: float, resamples: int, seed: int) -> Interval | None:
    """The counts are multinomial when samples are drawn again, so they are drawn directly."""
    if lost + won == 0:
        return None
    if won > lost:
        # Mirrored, so that exchanging reference and variant exchanges the ends, down to the last draw.
        mirrored = _bootstrap_interval(won, lost, n, confidence, resamples, seed)
        return None if mirrored is None else (-mirrored[1], -mirrored[0])
    counts = np.random.default_rng(seed).multinomial(n, [lost / n, won / n, (n - lost - won) / n], size=resamples)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, _tails(confidence))
    return float(low), float(high)


def tango_score(lost: int, won: int, n: int, difference: float) -> float:
    """Score statistic, normal where (lost - won) / n estimates `difference`, which is between -1 and 1.

    Tango 1998, Statistics in Medicine 17:891-908, with the nuisance probability at its restricted maximum likelihood
    (there equation 6).
    """
    linear = -lost - won + (2 * n - lost + won) * difference
    root = math.sqrt(max(linear**2 + 8 * n * won * difference * (1 - difference), 0.0))
    only_variant = (root - linear) / (4 * n)
    variance = n * (2 * only_variant + difference * (1 - difference))
    return (lost - won - n * difference) / math.sqrt(max(variance, _PROBABILITY_EPSILON))


def tango_interval(lost: int, won: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of (lost - won) / n, the difference of two paired proportions: where `tango_score` is not significant.

    Exchanging the sides exchanges the ends.
    """
    if won > lost:
        low, high = tango_interval(won, lost, n, confidence)
        return -high, -low
    z = float(stats.norm.ppf((1 + confidence) / 2))

    def beyond(z: float, low: float, high: float) -> float:
        return float(optimize.brentq(lambda difference: tango_score(lost, won, n, difference) - z, low, high))

    observed, edge = (lost - won) / n, 1 - _PROBABILITY_EPSILON
    low = beyond(z, -edge, min(observed, edge)) if tango_score(lost, won, n, -edge) > z else -1.0
    high = beyond(-z, observed, edge) if tango_score(lost, won, n, edge) < -z else 1.0
    return low, high


def quantile_with_interval(samples: ArrayLike, quantile: float, confidence: float = 0.95) -> QuantileEstimate | None:
    """A quantile with its order-statistic interval; None when the samples are too few for the interval to exist.

    Distribution-free (Conover 1999, Practical Nonparametric Statistics, 3.2). An upper end exists only from
    quantile^n <= (1 - confidence) / 2 on: 368 samples for the 0.99 quantile at 95 %.
    """
    values = np.asarray(samples, float).ravel()
    if values.size == 0:
        return None
    # scipy-stubs calls the interval a float; it is a pair, NaN where an end does not exist.
    interval = cast("Interval", stats.quantile_test(values, q=0, p=quantile).confidence_interval(confidence))
    low, high = float(interval[0]), float(interval[1])
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return QuantileEstimate(float(np.quantile(values, quantile)), (low, high), int(values.size))


def _as_flags(values: ArrayLike) -> NDArray[np.bool_]:
    flags = np.asarray(values)
    if flags.dtype != np.bool_ or flags.ndim != 1:
        raise ValueError(f"expected one boolean per sample, not {flags.dtype} of shape {flags.shape}")
    return flags


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
