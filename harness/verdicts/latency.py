"""The words for latency: each row against FP32 in the same rounds, and all rows of a run at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.results import Interval, Row
from harness.stats.clusters import Claim, RatioEstimate, claim, estimate_ratio
from harness.stats.family import Correction
from harness.stats.intervals import holm
from harness.stats.verdict import latency_band
from harness.timing.samples import TWIN, Timings


@dataclass(frozen=True)
class JudgedSpeedup:
    """A speedup and what it proves on its own."""

    estimate: RatioEstimate
    ci: Interval
    """Holds at every look at once."""
    noise_floor: float | None
    """Relative: the farthest the interval of the twin's ratio reaches from 1."""
    claim: Claim


def judge_speedup(
    timings: Timings, reference: str, name: str, *, confidence: float, margin: float, looks: int = 1
) -> JudgedSpeedup:
    """Reference time over the time of `name`, against the margin and the session's noise.

    Args:
        timings: of a group in which both took part.
        reference: the FP32 row.
        name: the session that is judged.
        confidence: of the intervals.
        margin: relative difference that does not count.
        looks: how often such data may be looked at before measuring stops.
    """
    level = 1 - (1 - confidence) / looks
    noise = None
    if TWIN in timings.names:
        twin = estimate_ratio(timings.log_ratios(reference, TWIN)).interval(level)
        noise = max(twin[1], 1.0 / twin[0] if twin[0] > 0 else math.inf) - 1.0
    estimate = estimate_ratio(timings.log_ratios(reference, name))
    return JudgedSpeedup(
        estimate, estimate.interval(level), noise, claim(estimate, margin, latency_band(margin, noise), looks)
    )


def is_clear(
    timings: Timings, reference: str, *, confidence: float, margin: float, looks: int, comparisons: int
) -> bool:
    """Whether every session of the group has a verdict that will stand among `comparisons` of the run."""
    names = [name for name in timings.names if name not in (reference, TWIN)]
    threshold = (1 - confidence) / max(1, comparisons)
    return all(
        judge_speedup(timings, reference, name, confidence=confidence, margin=margin, looks=looks).claim.p_value
        <= threshold
        for name in names
    )


def judge_rows(rows: Sequence[Row], *, confidence: float, correction: Correction = "holm") -> list[Row]:
    """The rows of a run with the verdicts on latency that hold for all of them at once.

    The family is every row that was timed against its FP32 row. A row keeps the word that its own figures support
    where the corrected p-value reaches 1 - confidence, and is `inconclusive` otherwise.
    """
    timed = [row for row in rows if row.latency is not None and row.latency.p_value is not None]
    p_values = [row.latency.p_value for row in timed if row.latency is not None and row.latency.p_value is not None]
    adjusted = dict(
        zip([row.variant.id for row in timed], holm(p_values) if correction == "holm" else p_values, strict=True)
    )
    return [_with(row, adjusted[row.variant.id], confidence) if row.variant.id in adjusted else row for row in rows]


def _with(row: Row, adjusted: float, confidence: float) -> Row:
    assert row.latency is not None
    verdict = row.latency.verdict if adjusted <= 1 - confidence else "inconclusive"
    update = {"p_value_adjusted": adjusted, "verdict": verdict}
    return row.model_copy(update={"latency": row.latency.model_copy(update=update)})
