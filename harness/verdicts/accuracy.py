"""The verdicts on accuracy: all rows of a run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.results import Accuracy, ClassAccuracy, PairedComparison, Row
from harness.stats.family import CorrectedTest, Correction, PairedTest, judge_family
from harness.stats.intervals import MarginTests, holm
from harness.verdicts.quality import TOP1, Quality, quality, task_qualities

_Judged = dict[tuple[str, str], PairedComparison]
"""Comparisons with their verdicts, by variant id and name of the figure."""


def judge_accuracy(rows: Sequence[Row], *, confidence: float, correction: Correction) -> list[Row]:
    """The rows of a run with the verdicts on accuracy that hold for all of them at once.

    The family is every row that was compared with its FP32 row, whatever its model, target or status; where a task has
    several metrics, every metric of every row. Metrics that stand beside top-1 are a family of their own. What has no
    interval of its difference is `inconclusive`, and in no family. p-values of classes are adjusted for the classes of
    their row.
    """
    judged: _Judged = {}
    for figures in (_main_figures, _figures_beside):
        compared = {
            (row.variant.id, each.name): each.comparison
            for row in rows
            for each in figures(row)
            if each.comparison is not None
        }
        together = judge_together(list(compared.values()), confidence=confidence, correction=correction)
        judged |= zip(compared, together, strict=True)
    return [_with(row, judged) for row in rows]


def judge_together(
    compared: Sequence[PairedComparison], *, confidence: float, correction: Correction
) -> list[PairedComparison]:
    """One family of comparisons with their verdicts; `inconclusive` and in no family are those without an interval."""
    tests = [_tests(each) for each in compared]
    family = [test for test in tests if test is not None]
    judged = iter(judge_family(family, confidence=confidence, correction=correction))
    return [
        each.model_copy(
            update={"verdict": "inconclusive"} if test is None else _update(next(judged), len(family)),
        )
        for each, test in zip(compared, tests, strict=True)
    ]


def proven_classes(rows: Sequence[Row], *, confidence: float) -> list[tuple[Row, ClassAccuracy]]:
    """The classes whose loss is proven, for all classes of all rows at once; so are their p-values adjusted."""
    tested = [
        (row, each, each.comparison)
        for row in rows
        if row.accuracy is not None
        for each in row.accuracy.classes
        if each.comparison is not None and each.comparison.p_value is not None
    ]
    return [
        (row, _updated(each, {"p_value_adjusted": p_value}))
        for (row, each, comparison), p_value in zip(tested, _holm([found for *_, found in tested]), strict=True)
        if p_value <= 1 - confidence and (comparison.loss or 0.0) > 0
    ]


def _main_figures(row: Row) -> list[Quality]:
    found = quality(row)
    return [found] if found is not None and found.name == TOP1 else task_qualities(row)


def _figures_beside(row: Row) -> list[Quality]:
    return task_qualities(row) if row.accuracy is not None else []


def _tests(found: PairedComparison) -> PairedTest | None:
    if found.loss_interval is None or found.p_value is None:
        return None
    if found.non_inferiority_p_value is None or found.non_superiority_p_value is None:
        return None
    return PairedTest(
        found.loss_interval, found.p_value, MarginTests(found.non_inferiority_p_value, found.non_superiority_p_value)
    )


def _update(judged: CorrectedTest, family_size: int) -> dict[str, Any]:
    return {
        "p_value_adjusted": judged.p_value,
        "non_inferiority_p_value_adjusted": judged.margin_tests.non_inferiority,
        "non_superiority_p_value_adjusted": judged.margin_tests.non_superiority,
        "family_size": family_size,
        "is_non_inferior": judged.is_non_inferior,
        "verdict": judged.verdict,
    }


def _with(row: Row, judged: _Judged) -> Row:
    variant, accuracy = row.variant.id, row.accuracy
    if accuracy is not None:
        found = judged.get((variant, TOP1), accuracy.comparison)
        accuracy = _with_classes(accuracy.model_copy(update={"comparison": found}))
    metrics = {
        name: metric.model_copy(update={"comparison": judged.get((variant, name), metric.comparison)})
        for name, metric in row.metrics.items()
    }
    return row.model_copy(update={"accuracy": accuracy, "metrics": metrics})


def _updated(record: ClassAccuracy, update: dict[str, Any]) -> ClassAccuracy:
    if record.comparison is None:
        return record
    return record.model_copy(update={"comparison": record.comparison.model_copy(update=update)})


def _with_classes(accuracy: Accuracy) -> Accuracy:
    compared = [each.comparison for each in accuracy.classes if each.comparison is not None]
    if len(compared) < len(accuracy.classes) or not compared:
        return accuracy
    classes = tuple(
        _updated(each, {"p_value_adjusted": p_value, "family_size": len(compared)})
        for each, p_value in zip(accuracy.classes, _holm(compared), strict=True)
    )
    return accuracy.model_copy(update={"classes": classes})


def _holm(compared: Sequence[PairedComparison]) -> Sequence[float]:
    return holm([1.0 if each.p_value is None else each.p_value for each in compared])
