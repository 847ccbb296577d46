"""Accuracy of one variant in two runs, in pairs where both predicted the same test samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.comparison.snapshot import Snapshot
from harness.results import Interval, RunResults
from harness.stats.between_runs import at_level, independent_difference
from harness.stats.intervals import paired_difference


@dataclass(frozen=True)
class AccuracyChange:
    """What was lost between two runs (base minus new, positive is a loss)."""

    drop: float
    drop_ci: Interval
    p_value: float
    is_paired: bool
    """Both runs predicted the same samples, and which of them were right is known."""
    is_identical: bool = False
    """The engine is byte for byte the same, on the same samples: there is nothing to prove."""


def accuracy_change(
    base: Snapshot, new: Snapshot, variant_id: str, *, confidence: float = 0.95, seed: int = 0
) -> AccuracyChange | None:
    """Paired (McNemar) where per-sample results of the same samples exist on both sides, else from the intervals.

    None where one side has no accuracy.
    """
    before, after = (side.rows[variant_id].accuracy for side in (base, new))
    if before is None or after is None:
        return None
    old, now = base.of(variant_id), new.of(variant_id)
    is_same_data = test_samples(base.results) == test_samples(new.results)
    if is_same_data and old.correct is not None and now.correct is not None and len(old.correct) == len(now.correct):
        engines = old.digests.get("engine"), now.digests.get("engine")
        identical = engines[0] is not None and engines[0] == engines[1] and bool(np.all(old.correct == now.correct))
        found = paired_difference(old.correct, now.correct, confidence=confidence, seed=seed)
        return AccuracyChange(found.drop, found.drop_ci, found.p_value, is_paired=True, is_identical=identical)
    before_ci, after_ci = (
        at_level(each.top1, each.top1_interval.ends, each.top1_interval.confidence, confidence)
        for each in (before, after)
    )
    estimate = independent_difference(before.top1, before_ci, after.top1, after_ci, confidence=confidence)
    low, high = estimate.interval
    return AccuracyChange(-estimate.value, (-high, -low), estimate.p_value, is_paired=False)


def test_samples(results: RunResults) -> tuple[str, ...]:
    """Checksums of the samples that a run predicted."""
    return tuple(split.sha256 for dataset in results.datasets for split in dataset.splits if split.name == "test")
