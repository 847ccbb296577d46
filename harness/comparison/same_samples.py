"""Accuracy of one variant in two runs, in pairs where both predicted the same test samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.comparison.snapshot import Snapshot
from harness.results import ConfidenceInterval, PairedComparison, RunResults
from harness.stats.between_runs import at_level, independent_difference
from harness.stats.intervals import paired_difference


@dataclass(frozen=True)
class AccuracyChange:
    """Top-1 of the new run against the base, not judged yet."""

    comparison: PairedComparison
    """Without p-value where the engine is identical: there is nothing to prove."""
    is_paired: bool
    """Both runs predicted the same samples, and which of them were right is known."""
    is_identical: bool = False
    """The engine is byte for byte the same, on the same samples."""


def accuracy_change(
    base: Snapshot, new: Snapshot, variant_id: str, *, confidence: float = 0.95
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
        found = paired_difference(old.correct, now.correct, confidence=confidence)
        comparison = PairedComparison.of_shares(after.top1, before.top1, found, confidence)
        if identical:
            comparison = comparison.model_copy(update={"p_value": None})
        return AccuracyChange(comparison, is_paired=True, is_identical=identical)
    before_ci, after_ci = (
        at_level(each.top1, each.top1_interval.ends, each.top1_interval.confidence, confidence)
        for each in (before, after)
    )
    estimate = independent_difference(before.top1, before_ci, after.top1, after_ci, confidence=confidence)
    comparison = PairedComparison(
        value=after.top1,
        reference_value=before.top1,
        difference=estimate.value,
        interval=ConfidenceInterval.of(estimate.interval, confidence),
        p_value=estimate.p_value,
    )
    return AccuracyChange(comparison, is_paired=False)


def test_samples(results: RunResults) -> tuple[str, ...]:
    """Checksums of the samples that a run predicted."""
    return tuple(split.sha256 for dataset in results.datasets for split in dataset.splits if split.name == "test")
