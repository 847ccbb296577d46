"""Simulated pairs of models with a known true difference: does the harness say what is true as often as it promises?

Run `python tests/benchmarks/accuracy_trials.py`; it prints the tables of `docs/results/measurement.md`.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from harness.stats.family import CorrectedTest, Correction, PairedTest, judge_family
from harness.stats.intervals import PairedDifference, paired_difference, tango_interval, wilson_interval

TRIALS = 10_000
FAMILY_TRIALS = 2_000
BOOTSTRAP_RESAMPLES = 1_000
MARGIN = 0.01
SAMPLES = (100, 500, 2_000, 10_000)
DISCORDANT_SHARES = (0.0, 0.002, 0.01, 0.05, 0.2)
ONE_SIDEDNESS = (0.0, 0.3, 0.7, 1.0)
"""True difference as a share of the discordant samples: 0 is no difference, 1 a variant that only ever loses."""


@dataclass(frozen=True)
class Truth:
    """Two models on n samples, and how often exactly one of them is right."""

    n: int
    lost: float
    """Probability that only the reference is right."""
    won: float

    @property
    def difference(self) -> float:
        return self.lost - self.won

    @property
    def expected_discordant(self) -> float:
        return self.n * (self.lost + self.won)


@dataclass(frozen=True)
class Coverage:
    """Shares of trials."""

    truth: Truth
    score: float
    bootstrap: float
    below: float
    """The score interval lies below the truth: a loss would be called smaller than it is."""
    above: float
    rejected: float
    """McNemar p at most 0.05."""


def truths() -> Iterator[Truth]:
    for n in SAMPLES:
        for share in DISCORDANT_SHARES:
            for one_sidedness in ONE_SIDEDNESS if share else (0.0,):
                yield Truth(n, share * (1 + one_sidedness) / 2, share * (1 - one_sidedness) / 2)


@functools.lru_cache(maxsize=200_000)
def difference(lost: int, won: int, n: int) -> PairedDifference:
    """Of n samples, in the way of a run: one flag per sample and model."""
    reference, variant = np.ones(n, bool), np.ones(n, bool)
    variant[:lost] = False
    reference[lost : lost + won] = False
    return paired_difference(reference, variant, resamples=BOOTSTRAP_RESAMPLES)


def simulate(truth: Truth, trials: int, rng: np.random.Generator) -> list[PairedDifference]:
    """That many test sets of the two models."""
    probabilities = [truth.lost, truth.won, 1 - truth.lost - truth.won]
    return [
        difference(int(lost), int(won), truth.n) for lost, won, _ in rng.multinomial(truth.n, probabilities, trials)
    ]


def coverage(truth: Truth, trials: int = TRIALS, seed: int = 1) -> Coverage:
    found = simulate(truth, trials, np.random.default_rng(seed))
    low, high = np.array([each.drop_ci for each in found]).T
    ends = np.array([each.bootstrap_ci or (0.0, 0.0) for each in found])
    return Coverage(
        truth=truth,
        score=float(np.mean((low <= truth.difference) & (truth.difference <= high))),
        bootstrap=float(np.mean((ends[:, 0] <= truth.difference + 1e-12) & (truth.difference - 1e-12 <= ends[:, 1]))),
        below=float(np.mean(high < truth.difference)),
        above=float(np.mean(low > truth.difference)),
        rejected=float(np.mean([each.p_value <= 0.05 for each in found])),
    )


def non_inferior(truth: Truth, trials: int = TRIALS, seed: int = 2) -> float:
    """Share of trials in which the loss is said to be smaller than the margin."""
    found = simulate(truth, trials, np.random.default_rng(seed))
    judged = [judge_family([comparison(each)], confidence=0.95, correction="holm")[0] for each in found]
    return float(np.mean([each.is_non_inferior for each in judged]))


def comparison(found: PairedDifference) -> PairedTest:
    return PairedTest(found.drop_ci, found.p_value, found.margin_tests(MARGIN))


def matrix(
    differences: npt.NDArray[np.float64], n: int, discordant: float, shared: float, rng: np.random.Generator
) -> list[PairedDifference]:
    """The rows of one run: each with its true difference to the same FP32 row, on the same samples.

    The share `shared` of the samples that a row without difference loses or wins is lost or won by all rows together,
    as variants of one network tend to.
    """
    draws = rng.random(n)
    lost_by_all = draws < discordant * shared / 2
    won_by_all = (draws >= discordant * shared / 2) & (draws < discordant * shared)
    rows = []
    for each in differences:
        own = rng.random(n)
        lost_share = (discordant * (1 - shared) + each) / 2
        won_share = (discordant * (1 - shared) - each) / 2
        free = ~lost_by_all & ~won_by_all
        # Of the samples that are still free, so that the true difference is `each`.
        scale = 1 - discordant * shared
        lost = lost_by_all | (free & (own < lost_share / scale))
        won = won_by_all | (free & ~lost & (own < (lost_share + won_share) / scale))
        rows.append(difference(int(lost.sum()), int(won.sum()), n))
    return rows


@dataclass(frozen=True)
class FamilyErrors:
    """Shares of runs with one or more wrong words."""

    difference: float
    """A row without a true difference is called better or worse."""
    same: float
    """A row that truly loses the margin is called the same, or said to keep its accuracy."""
    found: float
    """Of the rows that truly lose three times the margin: share called worse."""


def family_errors(
    correction: Correction, *, shared: float, n: int = 2_000, trials: int = FAMILY_TRIALS, seed: int = 3
) -> FamilyErrors:
    """Runs of 24 rows: eight without difference, eight that lose just the margin, eight that lose three times it."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat([0.0, MARGIN, 3 * MARGIN], 8)
    false_difference = false_same = 0
    found = []
    for _ in range(trials):
        rows = matrix(kinds, n, 0.08, shared, rng)
        words = judge_family([comparison(row) for row in rows], confidence=0.95, correction=correction)
        false_difference += any(word.verdict in {"better", "worse"} for word in words[:8])
        false_same += any(_kept(word) for word in words[8:])
        found.append(np.mean([word.verdict == "worse" for word in words[16:]]))
    return FamilyErrors(false_difference / trials, false_same / trials, float(np.mean(found)))


def null_family_errors(
    correction: Correction, *, rows: int, shared: float, n: int = 2_000, trials: int = FAMILY_TRIALS, seed: int = 4
) -> float:
    """Share of runs, none of whose rows differs from FP32, with a row that is called better or worse."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(trials):
        found = matrix(np.zeros(rows), n, 0.08, shared, rng)
        words = judge_family([comparison(row) for row in found], confidence=0.95, correction=correction)
        wrong += any(word.is_proven for word in words)
    return wrong / trials


def _kept(word: CorrectedTest) -> bool:
    return word.is_non_inferior or word.verdict == "same"


Interval = Callable[[int, int, int], tuple[float, float]]
_Z = float(stats.norm.ppf(0.975))


@functools.lru_cache(maxsize=200_000)
def score_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    return tango_interval(lost, won, n)


def bonett_price_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Wald interval after adding one sample to each side (Bonett & Price 2012, J Educ Behav Stat 37:479-488)."""
    a, b = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    arm = _Z * math.sqrt((a + b - (a - b) ** 2) / (n + 2))
    return a - b - arm, a - b + arm


def newcombe_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Square-and-add of Wilson intervals (Newcombe 1998, Stat Med 17:2635-2650, method 8, uncorrected).

    Both models are right on 90 % of the samples that they agree on.
    """
    agreed = n - lost - won
    both = round(0.9 * agreed)
    first, second = both + lost, both + won
    (low1, high1), (low2, high2) = wilson_interval(first, n), wilson_interval(second, n)
    product = first * (n - first) * second * (n - second)
    phi = (both * (agreed - both) - lost * won) / math.sqrt(product) if product else 0.0
    p1, p2 = first / n, second / n
    below = (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    above = (p2 - low2) ** 2 - 2 * phi * (p2 - low2) * (high1 - p1) + (high1 - p1) ** 2
    return p1 - p2 - math.sqrt(below), p1 - p2 + math.sqrt(above)


def exact_coverage(truth: Truth, interval: Interval = score_interval) -> float:
    """By enumeration of all counts that have a probability above 1e-9."""
    lost, won = _likely(truth.n, truth.lost), _likely(truth.n, truth.won)
    covered = 0.0
    for each in lost:
        # Given how many are lost, the others are won with probability won / (1 - lost).
        of_won = stats.binom.pmf(won, truth.n - each, truth.won / (1 - truth.lost))
        of_lost = stats.binom.pmf(each, truth.n, truth.lost)
        for other, probability in zip(won, of_won * of_lost, strict=True):
            if probability > 1e-9:
                low, high = interval(int(each), int(other), truth.n)
                covered += float(probability) * (low <= truth.difference <= high)
    return covered


def _likely(n: int, probability: float) -> npt.NDArray[np.int64]:
    low, high = stats.binom.ppf([1e-9, 1 - 1e-9], n, probability)
    return np.arange(int(low), int(high) + 1)


def _show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _percent(share: float) -> str:
    return f"{share * 100:.1f}"


def _print_coverage() -> None:
    _show("| n | Discordant | True difference | Expected discordant | Score interval | Bootstrap | Below | Above |")
    _show("| --: | --: | --: | --: | --: | --: | --: | --: |")
    for truth in truths():
        found = coverage(truth)
        figures = (found.score, found.bootstrap, found.below, found.above)
        cells = [f"{truth.n:,}", f"{(truth.lost + truth.won) * 100:g} %", f"{truth.difference * 100:.2f}"]
        cells += [f"{truth.expected_discordant:g}", *map(_percent, figures)]
        _show("| " + " | ".join(cells) + " |")


def _print_extremes(n: int = 2_000) -> None:
    _show("\n| Expected discordant | Score (Tango) | Bonett and Price | Newcombe |")
    _show("| --: | --- | --- | --- |")
    intervals = [score_interval, *map(functools.cache, (bonett_price_interval, newcombe_interval))]
    for first, last, step in ((0.5, 2, 0.25), (2, 4, 0.25), (4, 6, 0.25), (6, 10, 0.25), (10, 20, 0.5), (20, 40, 1)):
        cells = []
        for interval in intervals:
            found = [
                exact_coverage(Truth(n, expected / n * share, expected / n * (1 - share)), interval)
                for expected in np.arange(first, last, step)
                for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
            ]
            cells.append(f"{_percent(min(found))} to {_percent(max(found))} %")
        _show(f"| {first:g} to {last:g} | {' | '.join(cells)} |")


def _print_size_and_non_inferiority() -> None:
    _show("\n| n | Discordant | McNemar p ≤ 0.05 without a difference | Loss of the margin passes | No loss passes |")
    _show("| --: | --: | --: | --: | --: |")
    for n in SAMPLES:
        for share in (0.01, 0.02, 0.05, 0.1):
            rejected = coverage(Truth(n, share / 2, share / 2)).rejected
            edge = non_inferior(Truth(n, (share + MARGIN) / 2, (share - MARGIN) / 2))
            power = non_inferior(Truth(n, share / 2, share / 2))
            _show(f"| {n:,} | {share * 100:g} % | {_percent(rejected)} | {_percent(edge)} | {_percent(power)} |")


def _print_families() -> None:
    _show("\n| Rows | Shared | Correction | A row of no difference is proven to differ |")
    _show("| --: | --: | --- | --: |")
    for rows in (8, 24):
        for shared in (0.0, 0.5):
            for correction in ("none", "holm"):
                wrong = null_family_errors(correction, rows=rows, shared=shared)
                _show(f"| {rows} | {shared:g} | {correction} | {_percent(wrong)} |")
    _show("\n| Shared | Correction | False better/worse | False same/kept | Losses of three margins found |")
    _show("| --: | --- | --: | --: | --: |")
    for shared in (0.0, 0.5):
        for correction in ("none", "holm"):
            found = family_errors(correction, shared=shared)
            cells = map(_percent, (found.difference, found.same, found.found))
            _show(f"| {shared:g} | {correction} | {' | '.join(cells)} |")


if __name__ == "__main__":
    _print_coverage()
    _print_extremes()
    _print_size_and_non_inferiority()
    _print_families()
