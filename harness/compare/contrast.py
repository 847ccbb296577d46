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

from harness.compare.statistics import DEFAULT_RESAMPLES, paired_difference
from harness.compare.verdict import accuracy_verdict, is_proven
from harness.results import Interval, Row, Verdict

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
    verdict: Verdict
    """Of QAT, with PTQ as the reference."""
    is_proven: bool
    """A difference in either direction is proven, however small."""


def contrasts(
    rows: Sequence[Row],
    correct: Correct,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> tuple[Contrast, ...]:
    """One paired test for every QAT row whose PTQ sibling is among `rows` and was evaluated too."""
    siblings = {_identity(row): row for row in rows if row.variant.method == "ptq"}
    pairs = [(siblings[_identity(row)], row) for row in _qat_rows(rows) if _identity(row) in siblings]
    return tuple(
        _contrast(ptq, qat, correct, confidence, resamples, seed)
        for ptq, qat in pairs
        if ptq.variant.id in correct and qat.variant.id in correct
    )


def _qat_rows(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.variant.method == "qat"]


def _identity(row: Row) -> str:
    shared = row.variant.model_dump(exclude={"id", "method", "learn_amax", "batch_norm", "qat_seed"})
    return json.dumps(shared, sort_keys=True)


def _contrast(ptq: Row, qat: Row, correct: Correct, confidence: float, resamples: int, seed: int) -> Contrast:
    loss = paired_difference(
        correct[ptq.variant.id], correct[qat.variant.id], confidence=confidence, resamples=resamples, seed=seed
    )
    margin = (qat.accuracy.margin if qat.accuracy else None) or 0.0
    return Contrast(
        ptq=ptq,
        qat=qat,
        gain=-loss.drop,
        gain_ci=(-loss.drop_ci[1], -loss.drop_ci[0]),
        p_value=loss.p_value,
        verdict=accuracy_verdict(loss.drop_ci, loss.p_value, margin, 1 - confidence),
        is_proven=is_proven(loss.drop_ci, loss.p_value, 1 - confidence),
    )
