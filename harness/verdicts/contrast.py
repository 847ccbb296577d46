"""QAT against PTQ: each QAT variant is paired with its own PTQ sibling.

The sibling differs in the method alone: same model, target, batch size, toolkit, calibrator, percentile, granularity,
bits and skip set. The best-looking of many PTQ rows is not used: picking it by its figure on the test samples makes
that figure optimistic (the winner's curse), and QAT would be judged against luck.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.results import Interval, PairedComparison, Row, Verdict
from harness.stats.family import Correction
from harness.stats.intervals import DEFAULT_RESAMPLES, paired_difference
from harness.stats.verdict import is_proven
from harness.verdicts.accuracy import judge_together

Correct = Mapping[str, NDArray[np.bool_]]
"""Per variant id, one boolean per test sample: whether the prediction was right."""


@dataclass(frozen=True)
class Contrast:
    """A QAT row and its PTQ sibling on the same samples."""

    ptq: Row
    qat: Row
    comparison: PairedComparison
    """Top-1 of QAT against PTQ, corrected for the pairs of the run."""

    @property
    def gain(self) -> float:
        """Accuracy of QAT minus accuracy of PTQ, as a share."""
        return self.comparison.difference or 0.0

    @property
    def gain_ci(self) -> Interval:
        """Interval of `gain`."""
        assert self.comparison.interval is not None
        return self.comparison.interval.ends

    @property
    def p_value(self) -> float:
        """Corrected for the pairs of the run."""
        assert self.comparison.p_value_adjusted is not None
        return self.comparison.p_value_adjusted

    @property
    def verdict(self) -> Verdict:
        """Verdict on QAT, with PTQ as the reference."""
        return self.comparison.verdict or "inconclusive"

    @property
    def is_proven(self) -> bool:
        """A difference in either direction is proven, however small."""
        assert self.comparison.interval is not None
        return is_proven(self.gain_ci, self.p_value, 1 - self.comparison.interval.confidence)


def contrasts(
    rows: Sequence[Row],
    correct: Correct,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    correction: Correction = "holm",
) -> tuple[Contrast, ...]:
    """One paired test for every QAT row whose PTQ sibling is among `rows` and was evaluated too.

    They are a family of their own beside the comparisons with FP32, and are corrected together.
    """
    pairs = [(ptq, qat) for ptq, qat in siblings(rows) if ptq.variant.id in correct and qat.variant.id in correct]
    compared = [_compared(ptq, qat, correct, confidence, resamples, seed) for ptq, qat in pairs]
    judged = judge_together(compared, confidence=confidence, correction=correction)
    return tuple(Contrast(ptq, qat, comparison) for (ptq, qat), comparison in zip(pairs, judged, strict=True))


def siblings(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """PTQ and QAT rows that differ in the method alone."""
    ptq = {_identity(row): row for row in rows if row.variant.method == "ptq"}
    qat = [(_identity(row), row) for row in rows if row.variant.method == "qat"]
    return [(ptq[identity], row) for identity, row in qat if identity in ptq]


def _identity(row: Row) -> str:
    shared = row.variant.model_dump(exclude={"id", "method", "learn_amax", "batch_norm", "qat_seed"})
    return json.dumps(shared, sort_keys=True)


def _compared(ptq: Row, qat: Row, correct: Correct, confidence: float, resamples: int, seed: int) -> PairedComparison:
    sides = correct[ptq.variant.id], correct[qat.variant.id]
    compared = qat.accuracy.comparison if qat.accuracy else None
    return PairedComparison.of_shares(
        float(sides[1].mean()),
        float(sides[0].mean()),
        paired_difference(*sides, confidence=confidence, resamples=resamples, seed=seed),
        confidence,
        reference=ptq.variant.id,
        margin=(compared.margin if compared else None) or 0.0,
    )
