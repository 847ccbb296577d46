"""Figures of the predictions: top-1, top-5, and what was lost against FP32."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from harness.figures.base import SHARE_MARGIN, Figure, FigureValue, loss_interval, reading, wilson
from harness.results import Accuracy, Row

TOP1: Final = "accuracy.top1"
TOP5: Final = "accuracy.top5"


def accuracy_figures() -> Iterator[Figure]:
    """Figures of the section `accuracy`."""
    share = partial(Figure, unit="share", has_interval=True)
    of = partial(reading, _in_accuracy)
    yield share(
        TOP1,
        header="Top-1",
        better="higher",
        definition="Share of test samples whose class is predicted.",
        read=of(lambda found: found.top1, lambda found: found.top1_interval),
        margin=SHARE_MARGIN,
        words="top-1",
        column="top1",
        carries_verdict=True,
    )
    yield share(
        "accuracy.drop",
        header="Drop",
        better="lower",
        definition="Top-1 of FP32 minus top-1 of the variant on the same samples: what was lost is positive.",
        read=of(lambda found: found.drop, lambda found: loss_interval(found.comparison)),
        column="drop",
        is_difference=True,
        compares_with_fp32=True,
        carries_verdict=True,
    )
    yield share(
        "accuracy.agreement",
        header="Agreement",
        better="higher",
        definition="Share of test samples for which the variant predicts the same class as FP32.",
        read=_same_class,
        column="agreement",
        compares_with_fp32=True,
    )
    yield share(
        TOP5,
        header="Top-5",
        better="higher",
        definition="Share of test samples whose class is among the five largest outputs.",
        read=of(lambda found: found.top5, lambda found: found.top5_interval),
        column="top5",
    )
    yield share(
        "accuracy.top5_drop",
        header="Drop of top-5",
        better="lower",
        definition="Top-5 of FP32 minus top-5 of the variant on the same samples.",
        read=of(lambda found: found.top5_drop, lambda found: loss_interval(found.top5_comparison)),
        column="top5_drop",
        is_difference=True,
        compares_with_fp32=True,
    )


def _same_class(row: Row, confidence: float) -> FigureValue | None:
    found = row.accuracy
    if found is None or found.agreement is None:
        return None
    if found.agreement_interval is not None:
        return FigureValue(found.agreement, found.agreement_interval)
    return wilson(found.agreement, found.n, confidence)


def _in_accuracy(row: Row) -> Accuracy | None:
    return row.accuracy
