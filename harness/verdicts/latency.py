"""The words for latency: each row against FP32 in the same rounds, and all rows of a run at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.results import Interval, Row
from harness.results.performance import Speedup
from harness.stats.clusters import OwnVerdict, RatioEstimate, estimate_ratio, own_verdict
from harness.stats.family import Correction
from harness.stats.intervals import holm
from harness.stats.verdict import latency_band
from harness.timing.samples import AA_CONTROL, Timings

Timed = TypeVar("Timed", bound=Speedup)


@dataclass(frozen=True)
class JudgedSpeedup:
    """A speedup and what it proves on its own."""

    estimate: RatioEstimate
    ci: Interval
    """Holds at every look at once."""
    noise_floor: float | None
    """Relative: the farthest that the interval of the A/A control's ratio reaches from 1."""
    own_verdict: OwnVerdict


def judge_speedup(
    timings: Timings,
    reference: str,
    name: str,
    *,
    confidence: float,
    margin: float,
    analyses: int = 1,
    aa_control_of: str | None = None,
) -> JudgedSpeedup:
    """Reference time over the time of `name`, against the margin and the session's noise.

    Args:
        timings: of a group in which both took part.
        reference: the FP32 row.
        name: the session that is judged.
        confidence: of the intervals.
        margin: relative difference that does not count.
        analyses: interim analyses that may be made before measuring stops.
        aa_control_of: the session whose engine the A/A control runs, where that is not `reference`.
    """
    level = 1 - (1 - confidence) / analyses
    noise = None
    if AA_CONTROL in timings.names:
        control = estimate_ratio(timings.log_ratios(aa_control_of or reference, AA_CONTROL)).interval(level)
        noise = max(control[1], 1.0 / control[0] if control[0] > 0 else math.inf) - 1.0
    estimate = estimate_ratio(timings.log_ratios(reference, name))
    return JudgedSpeedup(
        estimate, estimate.interval(level), noise, own_verdict(estimate, margin, latency_band(margin, noise), analyses)
    )


def speedups(names: Iterable[str], reference: str, own_references: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is judged in a group: pairs of a reference and a session.

    Args:
        names: of the sessions.
        reference: FP32 on the reference target, which everything is compared with.
        own_references: by session, FP32 on its own target; sessions that are left out have `reference`.
    """
    sessions = [name for name in names if name not in (reference, AA_CONTROL)]
    own = [(own_references.get(name, reference), name) for name in sessions]
    return [
        *((reference, name) for name in sessions),
        *((first, name) for first, name in own if first not in (reference, name) and first in sessions),
    ]


def is_clear(
    timings: Timings,
    reference: str,
    *,
    confidence: float,
    margin: float,
    analyses: int,
    comparisons: int,
    own_references: Mapping[str, str] | None = None,
) -> bool:
    """Whether every speedup of the group has a verdict that holds after correction for `comparisons` of the run."""
    threshold = (1 - confidence) / max(1, comparisons)
    return all(
        judge_speedup(
            timings, first, name, confidence=confidence, margin=margin, analyses=analyses, aa_control_of=reference
        ).own_verdict.p_value
        <= threshold
        for first, name in speedups(timings.names, reference, own_references or {})
    )


def judge_latency(rows: Sequence[Row], *, confidence: float, correction: Correction = "holm") -> list[Row]:
    """The rows of a run with the verdicts on latency that hold for all of them at once.

    The family is every speedup: against FP32 on the row's own target and, where targets were timed together, against
    FP32 on the reference target. The verdict is the word that a row's own figures claim where the corrected p-value
    reaches 1 - confidence, and `inconclusive` otherwise.
    """
    p_values = [p_value for row in rows for p_value in _p_values(row)]
    adjusted = iter(holm(p_values) if correction == "holm" else p_values)
    return [_with(row, adjusted, len(p_values), confidence) if row.latency is not None else row for row in rows]


def _p_values(row: Row) -> Iterator[float]:
    for judged in (row.latency, row.latency and row.latency.across):
        if judged is not None and judged.comparison is not None and judged.comparison.p_value is not None:
            yield judged.comparison.p_value


def _with(row: Row, adjusted: Iterator[float], family_size: int, confidence: float) -> Row:
    """The row with its share of the p-values, in the order of `_p_values`."""
    latency = _judged(row.latency, adjusted, family_size, confidence)
    if latency is not None and latency.across is not None:
        across = _judged(latency.across, adjusted, family_size, confidence)
        latency = latency.model_copy(update={"across": across})
    return row.model_copy(update={"latency": latency})


def _judged(timed: Timed | None, adjusted: Iterator[float], family_size: int, confidence: float) -> Timed | None:
    if timed is None or timed.comparison is None or timed.comparison.p_value is None:
        return timed
    p_value = next(adjusted)
    verdict = timed.own_verdict if p_value <= 1 - confidence else "inconclusive"
    update = {"p_value_adjusted": p_value, "family_size": family_size, "verdict": verdict}
    return timed.model_copy(update={"comparison": timed.comparison.model_copy(update=update)})
