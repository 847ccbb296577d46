"""The verdicts on accuracy: all rows of a run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.results import Accuracy, MetricValue, Row
from harness.stats.family import Comparison, Correction, Judged, judge_family
from harness.stats.intervals import MarginTests
from harness.verdicts.quality import TOP1, Quality, quality, task_qualities


def judge_rows(rows: Sequence[Row], *, confidence: float, correction: Correction) -> list[Row]:
    """The rows of a run with the verdicts on accuracy that hold for all of them at once.

    The family is every row that was compared with its FP32 row, whatever its model, target or status; where a task has
    several metrics, every metric of every row.
    """
    comparisons = {
        (row.variant.id, each.name): comparison
        for row in rows
        for each in _judged_figures(row)
        if (comparison := _comparison(each.record)) is not None
    }
    judged = judge_family(list(comparisons.values()), confidence=confidence, correction=correction)
    updates = {key: _update(word, len(judged)) for key, word in zip(comparisons, judged, strict=True)}
    return [_with(row, updates) for row in rows]


def _judged_figures(row: Row) -> list[Quality]:
    found = quality(row)
    return [found] if found is not None and found.name == TOP1 else task_qualities(row)


def _comparison(found: Accuracy | MetricValue) -> Comparison | None:
    if found.drop_ci95 is None or found.p_value is None:
        return None
    if found.non_inferiority_p_value is None or found.non_superiority_p_value is None:
        return None
    return Comparison(
        found.drop_ci95, found.p_value, MarginTests(found.non_inferiority_p_value, found.non_superiority_p_value)
    )


def _update(judged: Judged, family_size: int) -> dict[str, Any]:
    return {
        "p_value_adjusted": judged.p_value,
        "non_inferiority_p_value_adjusted": judged.margin_tests.non_inferiority,
        "non_superiority_p_value_adjusted": judged.margin_tests.non_superiority,
        "family_size": family_size,
        "is_non_inferior": judged.is_non_inferior,
        "verdict": judged.verdict,
    }


def _with(row: Row, updates: Mapping[tuple[str, str], dict[str, Any]]) -> Row:
    variant = row.variant.id
    if (variant, TOP1) in updates and row.accuracy is not None:
        return row.model_copy(update={"accuracy": row.accuracy.model_copy(update=updates[variant, TOP1])})
    metrics = {name: metric.model_copy(update=updates.get((variant, name), {})) for name, metric in row.metrics.items()}
    return row.model_copy(update={"metrics": metrics})
