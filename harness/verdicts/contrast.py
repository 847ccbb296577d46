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

from harness.results import Interval, Row, Verdict
from harness.stats.family import Correction, PairedTest, judge_family
from harness.stats.intervals import DEFAULT_RESAMPLES, PairedDifference, paired_difference

Correct = Mapping[str, NDArray[np.bool_]]
"""Per variant id, one boolean per test sample: whether the prediction was right."""


@dataclass(frozen=True)
class Contrast:
    """A QAT row and its PTQ sibling on the same samples."""

    ptq: Row
    qat: Row
    gain: float
    """Accuracy of QAT minus accuracy of PTQ, as a share."""
    gain_ci: Interval
    p_value: float
    """Corrected for the pairs of the run."""
    verdict: Verdict
    """Verdict on QAT, with PTQ as the reference."""
    is_proven: bool
    """A difference in either direction is proven, however small."""


@dataclass(frozen=True)
class SiblingRows:
    """A QAT row and its PTQ sibling before they are judged."""

    ptq: Row
    qat: Row
    loss: PairedDifference
    comparison: PairedTest


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
    found = [
        _pair(ptq, qat, correct, confidence, resamples, seed)
        for ptq, qat in siblings(rows)
        if ptq.variant.id in correct and qat.variant.id in correct
    ]
    judged = judge_family([pair.comparison for pair in found], confidence=confidence, correction=correction)
    return tuple(
        Contrast(
            ptq=pair.ptq,
            qat=pair.qat,
            gain=-pair.loss.drop,
            gain_ci=(-pair.loss.drop_ci[1], -pair.loss.drop_ci[0]),
            p_value=word.p_value,
            verdict=word.verdict,
            is_proven=word.is_proven,
        )
        for pair, word in zip(found, judged, strict=True)
    )


def siblings(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """PTQ and QAT rows that differ in the method alone."""
    ptq = {_identity(row): row for row in rows if row.variant.method == "ptq"}
    qat = [(_identity(row), row) for row in rows if row.variant.method == "qat"]
    return [(ptq[identity], row) for identity, row in qat if identity in ptq]


def _identity(row: Row) -> str:
    shared = row.variant.model_dump(exclude={"id", "method", "learn_amax", "batch_norm", "qat_seed"})
    return json.dumps(shared, sort_keys=True)


def _pair(ptq: Row, qat: Row, correct: Correct, confidence: float, resamples: int, seed: int) -> SiblingRows:
    compared = qat.accuracy.comparison if qat.accuracy else None
    margin = (compared.margin if compared else None) or 0.0
    loss = paired_difference(
        correct[ptq.variant.id], correct[qat.variant.id], confidence=confidence, resamples=resamples, seed=seed
    )
    return SiblingRows(ptq, qat, loss, PairedTest(loss.drop_ci, loss.p_value, loss.margin_tests(margin)))
