"""What the accuracy figures of one model on one target prove, in words: PTQ against FP32, QAT against PTQ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.results import Accuracy, Method, Row, SeedSpread
from harness.verdicts.contrast import Contrast
from harness.verdicts.quality import TOP1
from harness.verdicts.recommend import keeps_accuracy
from harness.words.phrases import (
    counted,
    label,
    listed,
    margin_points,
    method_name,
    p_value,
    percent,
    plus_minus,
    point_range,
    points,
    quantization_parts,
    three_digits,
)

CALLED = "image"
"""What one test sample is."""


@dataclass(frozen=True)
class ComparedRow:
    """A row whose accuracy was compared with FP32."""

    row: Row
    accuracy: Accuracy
    drop: float
    drop_ci: tuple[float, float]

    @property
    def is_kept(self) -> bool:
        """The loss is proven to be within the margin."""
        return keeps_accuracy(self.row)

    @property
    def is_lost(self) -> bool:
        """A loss is proven."""
        return self.accuracy.verdict == "worse"

    @property
    def loss(self) -> str:
        """The loss with its interval."""
        return plus_minus(self.drop, self.drop_ci)

    @property
    def name(self) -> str:
        """What distinguishes it from the other rows of its method."""
        return " ".join(quantization_parts(self.row.variant)) or label(self.row.variant)

    @property
    def described(self) -> str:
        """Name and loss."""
        return f"{self.name} {self.loss}"


def judged(rows: Sequence[Row], method: Method) -> list[ComparedRow]:
    """The rows of one method that have a paired difference to FP32."""
    found = []
    for row in rows:
        compared = row.accuracy.comparison if row.accuracy and row.variant.method == method else None
        if row.accuracy and compared and compared.loss is not None and compared.loss_interval is not None:
            found.append(ComparedRow(row, row.accuracy, compared.loss, compared.loss_interval))
    return found


def accuracy_headline(rows: Sequence[Row], pairs: Sequence[Contrast]) -> str | None:
    """One sentence on PTQ and what QAT adds; None when neither was compared with FP32."""
    ptq, qat = judged(rows, "ptq"), judged(rows, "qat")
    if not ptq:
        return _quantized_headline(qat, "QAT") if qat else None
    parts = [_quantized_headline(ptq, "PTQ").removesuffix(".")]
    if pairs:
        parts.append(_qat_headline(pairs))
    return "; ".join(parts) + "."


def _quantized_headline(rows: Sequence[ComparedRow], name: str) -> str:
    kept, lost = [row for row in rows if row.is_kept], [row for row in rows if row.is_lost]
    if kept:
        verb = "is enough" if name == "PTQ" else "keeps the accuracy"
        return f"{name} {verb}." if len(kept) == len(rows) else f"{name} {verb} in {len(kept)} of {len(rows)} variants."
    if lost:
        share = "" if len(lost) == len(rows) else f" in {len(lost)} of {len(rows)} variants"
        return f"{name} provably loses {_amount([(row.drop, row.drop_ci) for row in lost])}{share}."
    return f"{_samples(rows[0].accuracy.n)} cannot show whether {name} keeps the accuracy."


def _qat_headline(pairs: Sequence[Contrast]) -> str:
    won = [(pair.gain, pair.gain_ci) for pair in pairs if pair.verdict == "better"]
    lost = [(-pair.gain, (-pair.gain_ci[1], -pair.gain_ci[0])) for pair in pairs if pair.verdict == "worse"]
    small = [(pair.gain, pair.gain_ci) for pair in pairs if pair.is_proven and pair.verdict == "same" and pair.gain > 0]
    is_lossy = any(pair.ptq.accuracy and pair.ptq.accuracy.verdict == "worse" for pair in pairs)
    if won:
        share = "" if len(won) == len(pairs) else f" in {len(won)} of {len(pairs)} variants"
        return f"QAT {'wins back' if is_lossy else 'gains'} {_amount(won)}{share}"
    if lost:
        return f"QAT provably loses {_amount(lost)} against it"
    if small:
        return f"QAT provably gains no more than {_amount(small)}, within the margin"
    nothing = "wins back nothing" if is_lossy else "buys nothing"
    return f"QAT {nothing} that {_samples(_n(pairs))} can prove"


def _amount(differences: Sequence[tuple[float, tuple[float, float]]]) -> str:
    if len(differences) == 1:
        return f"{plus_minus(*differences[0])} points"
    return f"{point_range(value for value, _ in differences)} points"


def method_details(rows: Sequence[Row], method: Method) -> str | None:
    """How the variants of one method did against FP32, with the extremes by name; None when there are none."""
    found = judged(rows, method)
    if not found:
        return None
    kept = [row for row in found if row.is_kept]
    lost = [row for row in found if row.is_lost]
    undecided = [row for row in found if not row.is_kept and not row.is_lost]
    parts = []
    if kept:
        parts.append(f"{len(kept)} of {len(found)} proven to lose less than that{_largest_loss(kept)}")
    if lost:
        by_loss = sorted(lost, key=lambda row: -row.drop)
        parts.append(f"{len(lost)} of {len(found)} provably worse: " + listed([row.described for row in by_loss]))
    if undecided:
        names = listed([row.described for row in undecided], at_most=3)
        parts.append(f"{len(undecided)} of {len(found)} undecided: {names}{_needed(undecided)}")
    margin = margin_points(_margin(found[0].accuracy))
    return f"{method_name(method)} against FP32 (margin {margin} points): " + "; ".join(parts) + "."


def _largest_loss(kept: Sequence[ComparedRow]) -> str:
    largest = max(kept, key=lambda row: row.drop)
    if largest.drop <= 0:
        return ", no loss was observed"
    return f", the largest observed loss is {largest.loss} ({largest.name})"


def _needed(undecided: Sequence[ComparedRow]) -> str:
    """How many samples would decide if there were no loss; intervals shrink with the root of n."""
    widest = max((row.drop_ci[1] - row.drop_ci[0]) / 2 for row in undecided)
    accuracy = undecided[0].accuracy
    margin = _margin(accuracy)
    if not margin or widest <= margin:
        return ""
    images = accuracy.n * (widest / margin) ** 2
    rounded = int(float(f"{images:.1e}"))
    return f" (an interval as narrow as the margin needs about {_samples(rounded)})"


def contrast_details(pairs: Sequence[Contrast]) -> str | None:
    """Every QAT variant against its own PTQ sibling; None when there is no such pair."""
    if not pairs:
        return None
    shown = [
        f"{' '.join(quantization_parts(pair.qat.variant))} {plus_minus(pair.gain, pair.gain_ci, sign=True)} "
        f"({p_value(pair.p_value)})"
        for pair in pairs
    ]
    return (
        "QAT minus PTQ of the same calibration, granularity, bits and skips, in points: "
        + listed(shown, at_most=6)
        + "."
    )


def seed_details(spread: SeedSpread, rows: Sequence[Row]) -> str:
    """Spread of QAT over its seeds, and the one that the other lines are about; `rows` has that one."""
    (row,) = (row for row in rows if row.variant.id == spread.representative)
    unseeded = row.variant.model_copy(update={"qat_seed": None})
    figure, what = (spread.drop, "drop") if spread.drop else (spread.value, spread.metric)
    shown, unit = (points, " points") if spread.metric == TOP1 else (three_digits, "")
    return (
        f"{label(unseeded)} from {counted(figure.n, 'seed')}: {what} {shown(figure.mean)}{unit} on average, standard "
        f"deviation {shown(figure.sd)}, {shown(figure.min)} to {shown(figure.max)}; the conclusions "
        f"use the median one, seed {_seed(row)}."
    )


def _seed(row: Row) -> str:
    return "of the scenario" if row.variant.qat_seed is None else str(row.variant.qat_seed)


def baseline(rows: Sequence[Row]) -> str | None:
    """Top-1 of FP32; None when it was not evaluated."""
    for row in rows:
        if row.variant.method == "fp32" and row.accuracy is not None:
            low, high = row.accuracy.top1_interval.ends
            return (
                f"FP32: {percent(row.accuracy.top1)} top-1 on {_samples(row.accuracy.n)} "
                f"({points(low)} to {points(high)})."
            )
    return None


def _margin(accuracy: Accuracy) -> float:
    return (accuracy.comparison.margin if accuracy.comparison else None) or 0.0


def _samples(n: int) -> str:
    return counted(n, CALLED)


def _n(pairs: Sequence[Contrast]) -> int:
    accuracy = pairs[0].qat.accuracy
    return accuracy.n if accuracy else 0
