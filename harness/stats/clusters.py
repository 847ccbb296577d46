"""How many times faster: one figure and its uncertainty from rounds within processes within builds.

Rounds of one process are alike in what a process draws once: where its memory lies, which pages it shares a cache
with. A thousand rounds of one process know nothing of that, so the unit of the statistics is the process, or the
build where an engine was built several times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.stats.terms import Interval, Verdict

TRIM = 0.2
"""Share of the rounds that is left out on either side for a process's figure: a round in which the machine did
something else must not decide. Equal for both directions, so that it favours neither."""

Rounds = NDArray[np.float64]


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio on the logarithmic scale, with the t distribution of its error."""

    log_ratio: float
    standard_error: float
    """Infinite where a single unit says nothing about the others."""
    degrees_of_freedom: int

    @property
    def ratio(self) -> float:
        """The geometric mean."""
        return math.exp(self.log_ratio)

    def interval(self, confidence: float) -> Interval:
        """Two-sided, of the ratio."""
        if math.isinf(self.standard_error):
            return 0.0, math.inf
        half = float(stats.t.ppf((1 + confidence) / 2, self.degrees_of_freedom)) * self.standard_error
        return _exp(self.log_ratio - half), _exp(self.log_ratio + half)

    def tail(self, bound: float) -> float:
        """Probability of an estimate at least this far above `bound` (logarithmic) if that were the truth."""
        if math.isinf(self.standard_error):
            return 1.0
        if self.standard_error == 0:
            return 0.0 if self.log_ratio > bound else 1.0
        return float(stats.t.sf((self.log_ratio - bound) / self.standard_error, self.degrees_of_freedom))


@dataclass(frozen=True)
class OwnVerdict:
    """The word that the data support best, and how well."""

    verdict: Verdict
    """`better`, `same` or `worse`."""
    p_value: float
    """One minus the highest confidence at which the two-sided interval still proves the word."""


def estimate_ratio(log_ratios: Sequence[Sequence[Rounds]]) -> RatioEstimate:
    """The mean over builds of the mean over processes of the trimmed mean over rounds, and its standard error.

    The error is that of the cluster bootstrap (Davison & Hinkley 1997, Bootstrap Methods and their Application,
    section 3.8): the units of the highest level that has more than one are drawn with replacement, each with
    everything below it. For a mean of unit means its limit for many draws is known, s / sqrt(k), and needs no draws.
    With a handful of units the percentiles of the bootstrap are too narrow; the t distribution with k - 1 degrees of
    freedom is not (Hesterberg 2015, The American Statistician 69:371-386).

    Args:
        log_ratios: by build and process, one value per round.

    Raises:
        ValueError: a process without rounds, or no process.
    """
    if not log_ratios or not all(log_ratios) or not all(len(rounds) for each in log_ratios for rounds in each):
        raise ValueError("a ratio needs at least one round of one process")
    by_build = [np.array([stats.trim_mean(rounds, TRIM) for rounds in processes]) for processes in log_ratios]
    build_means = np.array([means.mean() for means in by_build])
    if len(build_means) > 1:
        return _of_units(build_means)
    if len(by_build[0]) > 1:
        return _of_units(by_build[0])
    return _of_rounds(log_ratios[0][0])


def own_verdict(estimate: RatioEstimate, margin: float, band: float, analyses: int = 1) -> OwnVerdict:
    """What the estimate of a speedup says best; docs/design/statistics.md defines the words.

    Args:
        estimate: above ratio 1 the variant is faster.
        margin: relative difference that does not matter.
        band: relative difference that proves nothing, at least the margin.
        analyses: interim analyses that may be made before measuring stops; each costs its share (Bonferroni).
    """
    near, far = math.log1p(margin), math.log1p(band)
    mirrored = RatioEstimate(-estimate.log_ratio, estimate.standard_error, estimate.degrees_of_freedom)
    # The interval lies within the margin when it is proven to end above its lower and below its upper end
    # (two one-sided tests, Schuirmann 1987, J Pharmacokinet Biopharm 15:657-680).
    tails: dict[Verdict, float] = {
        "same": max(estimate.tail(-near), mirrored.tail(-near)) if margin > 0 else 1.0,
        "better": estimate.tail(far),
        "worse": mirrored.tail(far),
    }
    verdict = min(tails, key=lambda word: tails[word])
    return OwnVerdict(verdict, min(1.0, 2.0 * tails[verdict] * analyses))


def _exp(exponent: float) -> float:
    """Infinite where that is larger than a float: two processes at a high confidence say as good as nothing."""
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf


def _of_units(means: NDArray[np.float64]) -> RatioEstimate:
    k = len(means)
    return RatioEstimate(float(means.mean()), float(means.std(ddof=1)) / math.sqrt(k), k - 1)


def _of_rounds(rounds: Rounds) -> RatioEstimate:
    """Yuen's standard error of a trimmed mean (1974, Biometrika 61:165-170)."""
    n = len(rounds)
    cut = int(TRIM * n)
    kept = n - 2 * cut
    mean = float(stats.trim_mean(rounds, TRIM))
    if kept < 2:
        return RatioEstimate(mean, math.inf, 1)
    ordered = np.sort(rounds)
    winsorized = np.clip(rounds, ordered[cut], ordered[n - 1 - cut])
    return RatioEstimate(
        mean, float(winsorized.std(ddof=1)) * math.sqrt(n - 1) / math.sqrt(kept * (kept - 1)), kept - 1
    )
