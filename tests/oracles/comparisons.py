"""Records of paired comparisons from what was lost, or from how many times faster a row is."""

from __future__ import annotations

from typing import Any

from harness.results import ConfidenceInterval, PairedComparison
from harness.stats.intervals import PairedDifference

Ends = tuple[float, float]


def interval(low: float, high: float, confidence: float = 0.95) -> ConfidenceInterval:
    return ConfidenceInterval(low=low, high=high, confidence=confidence)


def dropped(
    value: float,
    drop: float,
    ends: Ends | None = None,
    *,
    confidence: float = 0.95,
    higher_is_better: bool = True,
    **tests: Any,
) -> PairedComparison:
    """`drop` against the reference, with the ends of its interval."""
    sign = -1.0 if higher_is_better else 1.0
    found = None if ends is None else interval(*sorted(sign * end for end in ends), confidence)
    return PairedComparison(
        value=value,
        reference_value=value - sign * drop,
        difference=sign * drop,
        higher_is_better=higher_is_better,
        interval=found,
        **tests,
    )


def lost_by(value: float, found: PairedDifference, margin: float | None = None, **tests: Any) -> PairedComparison:
    """From the statistics of a paired difference."""
    if margin is not None:
        against = found.margin_tests(margin)
        tests |= {
            "margin": margin,
            "non_inferiority_p_value": against.non_inferiority,
            "non_superiority_p_value": against.non_superiority,
        }
    return dropped(value, found.drop, found.drop_ci, p_value=found.p_value, **tests)


def faster(speedup: float, ends: Ends | None = None, *, confidence: float = 0.95, **tests: Any) -> PairedComparison:
    """So many times as fast as FP32."""
    return PairedComparison(
        value=speedup,
        reference_value=1.0,
        kind="ratio",
        difference=speedup - 1,
        interval=None if ends is None else interval(ends[0] - 1, ends[1] - 1, confidence),
        **tests,
    )


def compared_as(record: Any, **fields: Any) -> Any:
    """The record with other fields of its comparison."""
    return record.model_copy(update={"comparison": record.comparison.model_copy(update=fields)})
