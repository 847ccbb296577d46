"""What to do with each model: ship a variant, keep FP32, or say that nothing is proven, and what would prove it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import NormalDist
from typing import Any

from harness.results import (
    ClassAccuracy,
    ClassLoss,
    ConfidenceInterval,
    Decision,
    DecisionOutcome,
    EngineChoice,
    OpenPoint,
    PairedComparison,
    QatGain,
    Row,
    RunResults,
    Unknown,
)
from harness.verdicts.accuracy import proven_classes
from harness.verdicts.choice import least_work
from harness.verdicts.quality import quality
from harness.verdicts.recommend import is_proven_faster, keeps_accuracy, recommend
from harness.verdicts.seeds import representatives

_NOT_FASTER = ("same", "worse")


@dataclass(frozen=True)
class Together:
    """Rows of one model and batch size that one decision is about."""

    rows: tuple[Row, ...]
    choice: EngineChoice | None = None
    """What the rounds prove that rows of several targets shared."""

    @property
    def ran(self) -> list[Row]:
        """Rows whose engine ran."""
        return [row for row in self.rows if row.status == "ok"]

    def named(self, *ids: str | None) -> list[Row]:
        """Rows by id."""
        return [row for row in self.rows if row.variant.id in ids]

    @property
    def tied(self) -> list[Row]:
        """Of several targets, the fastest and those that are not proven slower."""
        return self.named(self.choice.fastest, *self.choice.as_fast) if self.choice else []


def decide_models(results: RunResults) -> tuple[Decision, ...]:
    """One decision per model and batch size, over the targets that were timed together; per target otherwise.

    Everything is read from the record. Of QAT rows that differ in their seed alone the median one stands for all.
    Without text: `harness.words.decision` adds it.
    """
    shown = representatives(results.rows, results.qat_seeds)
    lost = proven_classes(shown, confidence=results.confidence)
    gains = {gain.qat: gain for found in results.conclusions for gain in found.qat_gains}
    return tuple(_decision(each, lost, gains) for each in rows_together(shown, results.choices))


def rows_together(rows: Sequence[Row], choices: Sequence[EngineChoice]) -> list[Together]:
    """Rows by decision, in their order; a target without any figures goes to the others of its model."""
    contests = [choice for choice in choices if choice.reference is not None]
    shared = {(each.model, place, each.batch_size): each for each in contests for place in _places(rows, each)}
    found: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        model, place, batch_size = group = row.variant.group
        key = (model, batch_size, shared[group].reference or "" if group in shared else f"on {place}")
        found.setdefault(key, []).append(row)
    for key in [key for key, group in found.items() if not any(map(_has_figures, group))]:
        other = next((other for other in found if other != key and other[:2] == key[:2]), None)
        if other is not None:
            found[other] += found.pop(key)
    return [Together(tuple(group), shared.get(group[0].variant.group)) for group in found.values()]


def _places(rows: Sequence[Row], choice: EngineChoice) -> set[str]:
    """Where the rows ran that took part."""
    return {row.variant.place for row in rows if row.variant.id == choice.reference or _is_against(row, choice)}


def _is_against(row: Row, choice: EngineChoice) -> bool:
    timed = (row.latency, row.latency.across) if row.latency else ()
    return choice.reference in [each.comparison.reference for each in timed if each and each.comparison]


def _has_figures(row: Row) -> bool:
    return row.status in {"ok", "simulated"}


def _decision(group: Together, lost: Sequence[tuple[Row, ClassAccuracy]], gains: Mapping[str, QatGain]) -> Decision:
    best, first = _best(group), group.rows[0].variant
    points = tuple(_open_points(group, best))
    outcome = _outcome(group, best, points)
    chosen = None if outcome == "not_proven" else best
    slow = [row for row in group.ran if not _is_worse(row) and _speed_verdict(row) in _NOT_FASTER]
    return Decision(
        model=first.model,
        batch_size=first.batch_size,
        targets=tuple(dict.fromkeys(row.variant.place for row in group.rows if _has_figures(row))),
        outcome=outcome,
        **(_figures(group, chosen, lost) if chosen else {}),
        worse=_ids(row for row in group.ran if _is_worse(row)),
        not_faster=_ids(slow),
        qat_gains=_gains(group, gains, "ok"),
        simulated_qat_gains=_gains(group, gains, "simulated"),
        smallest=_first_id(group.named(group.choice.smallest)) if group.choice else None,
        without_quantization=_first_id(group.named(group.choice.without_quantization)) if group.choice else None,
        open=points,
    )


def _gains(group: Together, gains: Mapping[str, QatGain], status: str) -> tuple[QatGain, ...]:
    return tuple(gains[row.variant.id] for row in group.rows if row.variant.id in gains and row.status == status)


def _ids(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.variant.id for row in rows)


def _first_id(rows: Sequence[Row]) -> str | None:
    return rows[0].variant.id if rows else None


def _best(group: Together) -> Row | None:
    """The row to deploy, FP32 where nothing proven beats it; None where an open question forbids even that."""
    choice = group.choice
    if choice is None:
        found = recommend(group.ran)
        return found.row if found else None
    if choice.verdict != "undecided":
        return next(iter(group.named(choice.best)), None)
    fastest = next(iter(group.named(choice.fastest)), None)
    if fastest is None or (choice.unproven and fastest.variant.method == "fp32"):
        return None
    found_row = least_work(group.tied)
    # Not proven slower than the fastest is not yet faster than FP32.
    return found_row if found_row.variant.method == "fp32" or _speed_verdict(found_row) == "better" else fastest


def _outcome(group: Together, best: Row | None, points: Sequence[OpenPoint]) -> DecisionOutcome:
    unknown = {point.unknown for point in points}
    if best is None or unknown & {"labels", "latency"}:
        return "not_proven"
    if best.variant.method != "fp32":
        return "ship"
    is_alone = all(row.variant.method == "fp32" for row in group.ran)
    return "not_proven" if is_alone or unknown & {"accuracy", "speed", "engine"} else "keep_fp32"


def _open_points(group: Together, best: Row | None) -> Iterator[OpenPoint]:
    if group.ran and not any(quality(row) for row in group.ran):
        yield OpenPoint(unknown="labels")
    if group.ran and not any(row.latency for row in group.ran):
        yield OpenPoint(unknown="latency")
    found: dict[Unknown, list[Row]] = {
        "accuracy": _undecided_accuracy(group, best),
        "speed": _undecided_speed(group, best),
        "engine": _undecided_engine(group, best),
        "simulated": [row for row in group.rows if row.status == "simulated"],
        "not_run": [row for row in group.rows if not _has_figures(row)],
    }
    for unknown, rows in found.items():
        if rows:
            images = needed_images(rows[0]) if unknown == "accuracy" else None
            yield OpenPoint(unknown=unknown, variants=_ids(rows), images=images)


def _undecided_accuracy(group: Together, best: Row | None) -> list[Row]:
    """Those that may be the better choice; those that the fewest images decide come first."""
    undecided = [
        row
        for row in group.ran
        if quality(row) and not keeps_accuracy(row) and not _is_worse(row) and _speed_verdict(row) not in _NOT_FASTER
    ]
    if best is not None and best.variant.method != "fp32":
        undecided = [row for row in undecided if _beats(group, row, best)]
    return sorted(undecided, key=lambda row: (needed_images(row) or inf, row.variant.id))


def _beats(group: Together, row: Row, best: Row) -> bool:
    if group.choice is not None:
        return row.variant.id in group.choice.unproven
    return row.latency is not None and is_proven_faster(row, best)


def _undecided_speed(group: Together, best: Row | None) -> list[Row]:
    """Those that keep their accuracy and may be faster than FP32, where nothing is proven to be."""
    if best is not None and best.variant.method != "fp32":
        return []
    kept = [row for row in group.ran if row.latency and row.variant.method != "fp32" and keeps_accuracy(row)]
    return [row for row in kept if _speed_verdict(row) not in {*_NOT_FASTER, "better"}]


def _undecided_engine(group: Together, best: Row | None) -> list[Row]:
    if best is None or group.choice is None or group.choice.verdict != "undecided":
        return []
    return [row for row in group.tied if row.variant.place != best.variant.place]


def needed_images(row: Row) -> int | None:
    """Test images that show that the row keeps its accuracy, if its loss is what was observed.

    Intervals shrink with the root of the number of images, and this one must end before the margin. It is widened for
    the comparisons that were judged together (Bonferroni, which asks for no less than Holm). None where the observed
    loss reaches the margin, where that many images were there already, and where no margin or interval is known.
    """
    found = quality(row)
    compared = found.comparison if found else None
    if found is None or compared is None or compared.interval is None or not (compared.margin and found.record.n):
        return None
    alpha = 1 - compared.interval.confidence
    widened = _z(alpha / max(1, compared.family_size or 1)) / _z(alpha)
    loss, (_, high) = compared.loss or 0.0, compared.loss_interval or (0.0, 0.0)
    factor = widened * (high - loss) / (compared.margin - loss) if loss < compared.margin else 0.0
    return _rounded_up(found.record.n * factor**2) if 1 < factor < inf else None


def _z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2)


def _rounded_up(number: float) -> int:
    """To two digits."""
    step: int = 10 ** max(0, len(str(int(number))) - 2)
    return ceil(number / step) * step


def _figures(group: Together, row: Row, lost: Sequence[tuple[Row, ClassAccuracy]]) -> dict[str, Any]:
    timed = (row.latency.across or row.latency) if row.latency else None
    against = timed.comparison.reference if timed and timed.comparison else None
    own_fp32 = [each for each in group.rows if each is not row and each.variant.is_fp32_of(row.variant)]
    reference = next(iter([*group.named(against), *own_fp32]), None)
    found = quality(row)
    compared = found.comparison if found else None
    loss, loss_interval = _loss(compared)
    return {
        "variant": row.variant.id,
        "reference": reference.variant.id if reference else None,
        "speedup": timed.speedup if timed else None,
        "speedup_interval": timed.speedup_interval if timed else None,
        "size_ratio": _size_ratio(row, reference),
        "metric": found.name if found else None,
        "loss": loss,
        "loss_interval": loss_interval,
        "margin": compared.margin if compared else None,
        "class_losses": _class_losses(row, lost),
        "as_good": _as_good(group, row),
    }


def _class_losses(row: Row, lost: Sequence[tuple[Row, ClassAccuracy]]) -> tuple[ClassLoss, ...]:
    compared = [(each.name or str(each.label), *_loss(each.comparison)) for is_of, each in lost if is_of is row]
    found = [
        ClassLoss(name=name, loss=loss, interval=interval) for name, loss, interval in compared if loss is not None
    ]
    return tuple(sorted(found, key=lambda each: -each.loss))


def _loss(compared: PairedComparison | None) -> tuple[float | None, ConfidenceInterval | None]:
    if compared is None:
        return None, None
    ends, interval = compared.loss_interval, compared.interval
    return compared.loss, ConfidenceInterval.of(ends, interval.confidence) if ends and interval else None


def _size_ratio(row: Row, reference: Row | None) -> float | None:
    own, other = (each.size.engine_bytes if each and each.size else None for each in (row, reference))
    return own / other if own and other else None


def _as_good(group: Together, chosen: Row) -> tuple[str, ...]:
    if group.choice is not None:
        return _ids(row for row in group.tied if row is not chosen)
    found = recommend(group.ran)
    return _ids(found.ties) if found else ()


def _is_worse(row: Row) -> bool:
    found = quality(row)
    return found is not None and found.verdict == "worse" and not keeps_accuracy(row)


def _speed_verdict(row: Row) -> str | None:
    return row.latency.verdict if row.latency else None
