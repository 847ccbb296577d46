"""Which variant to ship: fast, proven to keep its accuracy, and no more work than needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.results import Latency, Row
from harness.stats.verdict import is_non_inferior, latency_band
from harness.verdicts.quality import quality

WORK = {"fp32": 0, "fp16": 1, "bf16": 1, "ptq": 2, "qat": 3}
"""Order of effort: FP16 and BF16 need no data, PTQ a calibration, QAT a training."""


@dataclass(frozen=True)
class Recommendation:
    """The row to ship, and the rows that are as good on every count that was measured."""

    row: Row
    ties: tuple[Row, ...]


def keeps_accuracy(row: Row) -> bool:
    """Whether the row's loss against FP32 is proven to be within the margin; FP32 itself keeps it by definition."""
    found = quality(row)
    if found is None:
        return False
    if row.variant.method == "fp32":
        return True
    compared = found.comparison
    if compared is None:
        return False
    if compared.is_non_inferior is not None:
        return compared.is_non_inferior
    return compared.loss_interval is not None and is_non_inferior(compared.loss_interval, compared.margin or 0.0)


def recommend(rows: Sequence[Row]) -> Recommendation | None:
    """The variant to ship among the rows of one model, target and batch size; None when nothing is proven.

    Candidates are rows with status `ok`, a measured latency, and a loss that is proven to be within the margin
    (`same`, `better`, or at least non-inferior); FP32 is one of them. Of the candidates that are not proven slower
    than the fastest, the one with the least work wins: FP32, FP16, PTQ, QAT in this order; then the smallest observed
    loss. None too when only FP32 is left but a row that may be faster is still undecided on accuracy.
    """
    measured = [row for row in rows if row.status == "ok" and row.latency is not None and _speedup(row) is not None]
    candidates = [row for row in measured if keeps_accuracy(row)]
    if not candidates:
        return None
    fastest = max(candidates, key=lambda row: _speedup(row) or 0.0)
    as_fast = [row for row in candidates if not is_proven_faster(fastest, row)]
    chosen = min(as_fast, key=_preference)
    may_be_better = [row for row in measured if _is_undecided(row) and is_proven_faster(row, chosen)]
    if chosen.variant.method == "fp32" and may_be_better:
        return None
    same_work = [row for row in as_fast if row is not chosen and row.variant.method == chosen.variant.method]
    return Recommendation(chosen, tuple(same_work))


def _speedup(row: Row) -> float | None:
    if row.variant.method == "fp32":
        return 1.0
    return row.latency.speedup if row.latency else None


def _speedup_interval(row: Row) -> tuple[float, float]:
    if row.variant.method != "fp32" and row.latency is not None and row.latency.speedup_interval is not None:
        return row.latency.speedup_interval.ends
    point = _speedup(row) or 1.0
    return point, point


def is_proven_faster(row: Row, other: Row) -> bool:
    """Against FP32 by the verdict, which holds for all rows of the run.

    Between two others: intervals against the same FP32 rounds do not touch, and the ratio exceeds the band that does
    not count. Stricter than a direct test (Schenker & Gentleman 2001, The American Statistician 55:182-186).
    """
    if other.variant.method == "fp32" and row.latency is not None and row.latency.verdict is not None:
        return row.latency.verdict == "better"
    if row.variant.method == "fp32" and other.latency is not None and other.latency.verdict is not None:
        return other.latency.verdict == "worse"
    latencies = [each.latency for each in (row, other) if each.latency is not None]
    band = max(latency_band(_margin(latency), latency.noise_floor) for latency in latencies)
    apart = _speedup_interval(row)[0] > _speedup_interval(other)[1]
    return apart and (_speedup(row) or 1.0) > (_speedup(other) or 1.0) * (1 + band)


def _margin(latency: Latency) -> float:
    return (latency.comparison.margin if latency.comparison else None) or 0.0


def _is_undecided(row: Row) -> bool:
    found = quality(row)
    return found is not None and not keeps_accuracy(row) and found.verdict != "worse"


def _preference(row: Row) -> tuple[int, float, float, str]:
    found = quality(row)
    drop = found.loss if found and found.loss is not None else 0.0
    return WORK[row.variant.method], drop, -(_speedup(row) or 0.0), row.variant.id
