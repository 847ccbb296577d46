"""Whether FP32 is better than guessing: where it is not, no row says anything about quantization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.results import Accuracy, ConfidenceInterval, Row
from harness.words.phrases import percent

_INPUT = ("channels", "value scale", "mean", "std")
"""Steps of preprocessing that a network trained elsewhere may have had otherwise."""


def chance_warnings(
    rows: Iterable[Row], n_classes: int, preprocessing: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """One sentence for each FP32 row whose top-1 is not proven to be above what guessing reaches.

    `preprocessing` holds the steps of the data set in words: what is to be checked first.
    """
    return tuple(
        f"{row.variant.id}: FP32 is no better than guessing. Its top-1 of {percent(row.accuracy.top1)} has an interval "
        f"from {percent(row.accuracy.top1_interval.low)} to {percent(row.accuracy.top1_interval.high)}, and guessing "
        f"reaches {percent(chance(row.accuracy, n_classes))}. {_advice(preprocessing)}"
        for row in rows
        if row.variant.method == "fp32" and row.accuracy is not None
        if row.accuracy.top1_interval.low <= chance(row.accuracy, n_classes)
    )


def guessing_warnings(rows: Iterable[Row], preprocessing: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The same for tasks beyond classification: one sentence for each figure of quality that guessing reaches, too."""
    return tuple(
        f"{row.variant.id}: FP32 is no better than guessing. Its {name} of {figure.value:.4g} has an interval from "
        f"{figure.interval.low:.4g} to {figure.interval.high:.4g}, and the most frequent class as the only answer "
        f"reaches {figure.guessing:.4g}. {_advice(preprocessing)}"
        for row in rows
        for name, figure in row.metrics.items()
        if row.variant.method == "fp32" and figure.is_quality and figure.guessing is not None and figure.interval
        if _is_reached(figure.interval, figure.guessing, figure.higher_is_better)
    )


def input_words(preprocessing: Mapping[str, str]) -> str:
    """`channels 3 (RGB), value scale 0 to 1, mean …, std …`: what the weights must agree with; empty if unknown."""
    return ", ".join(f"{name} {preprocessing[name]}" for name in _INPUT if name in preprocessing)


def _advice(preprocessing: Mapping[str, str] | None) -> str:
    applied = input_words(preprocessing or {})
    return f"Check preprocessing{f' ({applied})' if applied else ''}, the order of classes and the weights"


def _is_reached(interval: ConfidenceInterval, guessing: float, higher_is_better: bool) -> bool:
    return interval.low <= guessing if higher_is_better else interval.high >= guessing


def chance(accuracy: Accuracy, n_classes: int) -> float:
    """Top-1 of the better of two guesses: any class at random, or always the most frequent class of the test part."""
    most_frequent = max((each.n for each in accuracy.classes), default=0)
    return max(1.0 / n_classes, most_frequent / accuracy.n)
