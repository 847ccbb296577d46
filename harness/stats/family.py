"""Verdicts on many comparisons: p-values corrected over the family, to control the family-wise error rate (Holm).

Three questions are asked of every comparison, and each is a family of its own: is there a difference (exact McNemar
test), is the loss smaller than the margin, is the gain smaller than the margin (score tests). Holm's correction keeps
the probability of one or more wrong answers in a family at its level however many comparisons there are. Intervals
are not corrected: each is that of its own comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.stats.intervals import MarginTests, holm
from harness.stats.terms import Interval, Verdict
from harness.stats.verdict import is_proven, verdict_of

Correction = Literal["holm", "none"]


@dataclass(frozen=True)
class PairedTest:
    """One paired comparison on its own."""

    drop_ci: Interval
    p_value: float
    margin_tests: MarginTests


@dataclass(frozen=True)
class CorrectedTest:
    """What a comparison proves as one of its family; p-values are corrected."""

    p_value: float
    margin_tests: MarginTests
    is_proven: bool
    """A difference in either direction, however small."""
    is_non_inferior: bool
    """The loss is smaller than the margin."""
    verdict: Verdict


def judge_family(
    comparisons: Sequence[PairedTest], *, confidence: float, correction: Correction
) -> tuple[CorrectedTest, ...]:
    """Judge comparisons together.

    With one comparison, or without correction, a verdict is what the interval says (docs/design/statistics.md): the
    margin is tested on each side at half of 1 - confidence, which is what the interval does.
    """
    adjust = holm if correction == "holm" else tuple
    differences = adjust([each.p_value for each in comparisons])
    losses = adjust([each.margin_tests.non_inferiority for each in comparisons])
    gains = adjust([each.margin_tests.non_superiority for each in comparisons])
    return tuple(
        _judged(each.drop_ci, difference, MarginTests(loss, gain), 1 - confidence)
        for each, difference, loss, gain in zip(comparisons, differences, losses, gains, strict=True)
    )


def _judged(drop_ci: Interval, p_value: float, margin: MarginTests, significance: float) -> CorrectedTest:
    proven = is_proven(drop_ci, p_value, significance)
    loss, gain = proven and drop_ci[0] > 0, proven and drop_ci[1] < 0
    below, above = margin.non_inferiority <= significance / 2, margin.non_superiority <= significance / 2
    return CorrectedTest(
        p_value=p_value,
        margin_tests=margin,
        is_proven=proven,
        is_non_inferior=below or gain,
        verdict=verdict_of(loss=loss, gain=gain, below_margin=below, above_margin=above),
    )
