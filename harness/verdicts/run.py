"""What the rows of a run prove: the one place where verdicts are given, once."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Row
from harness.stats.family import Correction
from harness.verdicts import accuracy, latency, parity


def judge_run(rows: Sequence[Row], *, confidence: float, correction: Correction) -> list[Row]:
    """The rows of a run, whose comparisons have no verdict yet, with those that hold for all of them at once."""
    judged = accuracy.judge_accuracy(rows, confidence=confidence, correction=correction)
    judged = latency.judge_latency(judged, confidence=confidence, correction=correction)
    return parity.judge_parity(judged)
