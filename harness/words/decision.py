"""What to do with each model, in words: the answer, why, and what is not proven with what would prove it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.figures import AGREEMENT
from harness.results import Decision, Interval, OpenPoint, Row, RunResults
from harness.verdicts.decision import decide_models
from harness.verdicts.quality import TOP1, quality
from harness.verdicts.recommend import keeps_accuracy
from harness.words.phrases import (
    MINUS,
    TIMES,
    bits,
    byte_size,
    calibrator_name,
    counted,
    label,
    listed,
    margin_points,
    method_name,
    milliseconds,
    percent,
    plus_minus,
    point_range,
    points,
    speed,
    speed_interval,
    three_digits,
)


@dataclass(frozen=True)
class RecordedDecision:
    """A decision and the record that its words are taken from."""

    decision: Decision
    results: RunResults

    def row(self, variant_id: str) -> Row:
        """By id."""
        return self.results.row(variant_id)

    def name(self, variant_id: str) -> str:
        """Of a variant, with its target where there are several."""
        variant = self.row(variant_id).variant
        return label(variant) + (f" on {variant.place}" if len(self.decision.targets) > 1 else "")

    def names(self, ids: Sequence[str]) -> str:
        """Of several variants, three of them in full."""
        return listed([self.name(each) for each in ids], at_most=3)

    @property
    def rows(self) -> list[Row]:
        """All rows of the decision's targets that gave figures."""
        found = self.decision
        groups = {(found.model, place, found.batch_size) for place in found.targets}
        return [row for row in self.results.rows if row.variant.group in groups]

    @property
    def ran(self) -> list[Row]:
        """Those whose engine ran."""
        return [row for row in self.rows if row.status == "ok"]

    def unknown(self, kind: str) -> OpenPoint | None:
        """The open point of this kind."""
        return next((point for point in self.decision.open if point.unknown == kind), None)


def decisions_of(results: RunResults) -> tuple[Decision, ...]:
    """As the record has them; made from its rows where it is older than they are."""
    return results.decisions or tuple(_worded(RecordedDecision(found, results)) for found in decide_models(results))


def recommended_ids(results: RunResults) -> list[str]:
    """The rows to deploy, each once."""
    return list(dict.fromkeys(found.variant for found in decisions_of(results) if found.variant is not None))


def decision_title(found: Decision) -> str:
    """`resnet8, batch 1, on onnxruntime and openvino`."""
    *others, last = found.targets or ("",)
    place = f"{', '.join(others)} and {last}" if others else last
    return f"{found.model}, batch {found.batch_size}" + (f", on {place}" if place else "")


def decision_lines(results: RunResults, width: int) -> Iterator[str]:
    """For a terminal: of each model the answer, and what is not proven."""
    for found in decisions_of(results):
        yield f"\n{decision_title(found)}:"
        yield textwrap.fill(found.headline, width, initial_indent="  ", subsequent_indent="  ")
        if found.open:
            yield "  Not proven:"
        for point in found.open:
            yield textwrap.fill(point.text, width, initial_indent="  - ", subsequent_indent="    ")


def _worded(recorded: RecordedDecision) -> Decision:
    headlines: dict[str, Callable[[RecordedDecision], str]] = {
        "ship": _ship,
        "keep_fp32": _keep,
        "not_proven": _not_proven,
    }
    found = recorded.decision
    others = [text for text in (_qat(recorded), _losses(recorded), _simulated_qat(recorded)) if text]
    rest = f" {'; '.join(others)}." if others else ""
    points = tuple(each.model_copy(update={"text": _OPEN[each.unknown](recorded, each)}) for each in found.open)
    return found.model_copy(
        update={"headline": headlines[found.outcome](recorded) + rest, "why": tuple(_why(recorded)), "open": points}
    )


def _ship(recorded: RecordedDecision) -> str:
    found = recorded.decision
    assert found.variant is not None
    row = recorded.row(found.variant)
    seeds = next((each for each in recorded.results.qat_seeds if each.representative == found.variant), None)
    median = f" (the median of {counted(seeds.value.n, 'seed')})" if seeds else ""
    return (
        f"Ship {label(row.variant)} on {row.variant.place}{median}: {', '.join(_figures(recorded))}{_classes(found)}."
    )


def _figures(recorded: RecordedDecision) -> Iterator[str]:
    found = recorded.decision
    if found.speedup is not None:
        yield f"{speed(found.speedup)} {_fp32(recorded)}"
    if found.size_ratio is not None:
        yield f"{found.size_ratio:.2f}{TIMES} the bytes"
    if found.loss is not None and found.metric is not None:
        yield f"{found.metric} {_change(found.metric, found.loss, _ends(found))} (kept)"


def _fp32(recorded: RecordedDecision) -> str:
    """With its target where that is another one."""
    found = recorded.decision
    reference = recorded.row(found.reference).variant.place if found.reference else None
    own = recorded.row(found.variant).variant.place if found.variant else None
    return "FP32" if reference in {None, own} else f"FP32 on {reference}"


def _ends(found: Decision) -> Interval | None:
    return found.loss_interval.ends if found.loss_interval else None


def _change(metric: str, loss: float, ends: Interval | None) -> str:
    """What was won, negative for a loss: `-0.04 ± 0.11 points`, or in the unit of the metric."""
    if metric != TOP1:
        arm = f" ± {max(ends[1] - loss, loss - ends[0]):.4f}" if ends else ""
        return f"{-loss:+.4f}".replace("-", MINUS) + arm
    if ends is None:
        return f"{points(-loss, sign=True)} points"
    return f"{plus_minus(-loss, (-ends[1], -ends[0]), sign=True)} points"


def _row_change(row: Row) -> str:
    found = quality(row)
    assert found is not None
    ends = found.comparison.loss_interval if found.comparison else None
    return f"{found.name} {_change(found.name, found.loss or 0.0, ends)}"


def _classes(found: Decision) -> str:
    if not found.class_losses:
        return ""
    parts = [
        f"{each.name} {plus_minus(each.loss, each.interval.ends) if each.interval else points(each.loss)}"
        for each in found.class_losses
    ]
    word = "the class" if len(parts) == 1 else "the classes"
    return f"; but {word} {listed(parts, at_most=3)} points of recall provably lost"


def _keep(recorded: RecordedDecision) -> str:
    found = recorded.decision
    assert found.variant is not None
    count = len(found.worse) + len(found.not_faster)
    parts = [
        f"{len(found.worse)} provably less accurate" if found.worse else "",
        f"{len(found.not_faster)} proven not faster" if found.not_faster else "",
    ]
    gain = f" ({speed(found.speedup)} {_fp32(recorded)})" if found.speedup is not None else ""
    why = f": of {counted(count, 'other variant')} {', '.join(filter(None, parts))}" if count else ""
    return f"Keep FP32 on {recorded.row(found.variant).variant.place}{gain}{why}."


def _not_proven(recorded: RecordedDecision) -> str:
    return f"Nothing proven yet: {_first_unknown(recorded)}."


def _first_unknown(recorded: RecordedDecision) -> str:
    if not recorded.ran:
        return "no engine gave figures here"
    if recorded.unknown("labels"):
        return f"accuracy was not measured{_fastest(recorded)}"
    if recorded.unknown("latency"):
        kept = [row for row in recorded.ran if row.variant.method != "fp32" and keeps_accuracy(row)]
        count = sum(row.variant.method != "fp32" for row in recorded.ran)
        return "speed was not measured" + (f"; accuracy is kept by {len(kept)} of {count}" if count else "")
    if all(row.variant.method == "fp32" for row in recorded.ran):
        return "only FP32 ran here"
    for kind, tell in (("accuracy", _accuracy_unknown), ("speed", _speed_unknown), ("engine", _speed_unknown)):
        point = recorded.unknown(kind)
        if point is not None:
            return tell(recorded, point)
    return "no variant is proven both to keep accuracy and to be faster"


def _fastest(recorded: RecordedDecision) -> str:
    timed = [(row, each) for row in recorded.ran if row.latency and (each := row.latency.across or row.latency).speedup]
    if not timed:
        return ""
    row, found = max(timed, key=lambda each: each[1].speedup or 0.0)
    return f"; the fastest is {recorded.name(row.variant.id)}, {speed(found.speedup or 1.0)} FP32"


def _accuracy_unknown(recorded: RecordedDecision, point: OpenPoint) -> str:
    row = recorded.row(point.variants[0])
    n = _images(row)
    figures = [_speed(row).partition(" (")[0], _row_change(row)]
    return (
        f"{n} cannot show that {recorded.name(row.variant.id)} ({', '.join(filter(None, figures))}) "
        f"keeps accuracy within the margin of {_margin(row)}{f'; about {point.images:,} would' if point.images else ''}"
    )


def _speed_unknown(recorded: RecordedDecision, point: OpenPoint) -> str:
    row = recorded.row(point.variants[0])
    return f"{recorded.name(row.variant.id)} keeps accuracy, but is not proven faster: {_speed(row) or 'no speedup'}"


def _speed(row: Row) -> str:
    """`1.56x FP32 (1.53 to 1.60)`."""
    latency = row.latency
    if latency is None or latency.speedup is None:
        return ""
    interval = f" ({speed_interval(latency.speedup_interval.ends)})" if latency.speedup_interval else ""
    return f"{speed(latency.speedup)} FP32{interval}"


def _images(row: Row) -> str:
    found = quality(row)
    return counted((found.record.n if found else None) or 0, "test image")


def _margin(row: Row) -> str:
    found = quality(row)
    margin = (found.comparison.margin if found and found.comparison else None) or 0.0
    return f"{margin_points(margin)} points" if found and found.name == TOP1 else f"{margin:g}"


def _qat(recorded: RecordedDecision) -> str | None:
    """What QAT adds to PTQ of the same settings; None where that was not compared."""
    gains = recorded.decision.qat_gains
    compared = [each.comparison for each in gains]
    won = [each.difference or 0.0 for each in compared if each.verdict == "better"]
    lost = [each.loss or 0.0 for each in compared if each.verdict == "worse"]
    shipped = next((each for each in gains if each.qat == recorded.decision.variant), None)
    if won:
        share = f" in {len(won)} of {len(gains)}" if len(won) < len(gains) else ""
        return f"QAT gains {point_range(won)} points over PTQ{share}"
    if lost:
        return f"QAT loses {point_range(lost)} points against PTQ"
    return "QAT buys nothing here" if gains and shipped is None else None


def _simulated_qat(recorded: RecordedDecision) -> str | None:
    """What QAT provably wins back in formats that have no kernels here."""
    won: dict[str, list[float]] = {}
    for gain in recorded.decision.simulated_qat_gains:
        if gain.comparison.verdict == "better":
            name = bits(recorded.row(gain.qat).variant)
            won.setdefault(name, []).append(gain.comparison.difference or 0.0)
    parts = [f"{point_range(values)} points with {name}" for name, values in won.items()]
    return f"QAT wins back {listed(parts, at_most=3)} that PTQ loses (simulated)" if parts else None


def _losses(recorded: RecordedDecision) -> str | None:
    """The largest proven losses: by calibrator where all rows of it lose, else by variant."""
    lost: dict[str, list[float]] = {}
    for variant_id in recorded.decision.worse:
        row = recorded.row(variant_id)
        found = quality(row)
        if found is not None:
            lost.setdefault(_recipe(recorded, row), []).append(found.loss or 0.0)
    if not lost:
        return None
    is_top1 = any(row.accuracy for row in recorded.ran)
    shown = point_range if is_top1 else lambda values: f"{three_digits(max(values))}"
    parts = [f"{name} loses {shown(values)}" for name, values in sorted(lost.items(), key=lambda each: -max(each[1]))]
    return listed(parts, at_most=2) + (" points" if is_top1 and len(parts) <= 2 else "")


def _recipe(recorded: RecordedDecision, row: Row) -> str:
    def recipe(other: Row) -> tuple[str, str]:
        return other.variant.method, calibrator_name(other.variant)

    alike = [other.variant.id for other in recorded.ran if recipe(other) == recipe(row)]
    if set(alike) <= set(recorded.decision.worse):
        return " ".join(filter(None, [method_name(row.variant.method), calibrator_name(row.variant)]))
    return recorded.name(row.variant.id)


def _why(recorded: RecordedDecision) -> Iterator[str]:
    found = recorded.decision
    if found.variant is not None:
        yield from _why_it(recorded, recorded.row(found.variant))
    engines = recorded.unknown("engine")
    as_good = [each for each in found.as_good if engines is None or each not in engines.variants]
    if as_good:
        yield f"Others that keep their accuracy and are not proven slower: {recorded.names(as_good)}."
    if found.without_quantization not in {None, found.variant, found.reference}:
        row = recorded.row(found.without_quantization or "")
        timed = row.latency.across or row.latency if row.latency else None
        gain = f", {speed(timed.speedup)} FP32" if timed and timed.speedup else ""
        yield f"Fastest without quantization: {recorded.name(row.variant.id)}{gain}."
    if found.smallest not in {None, found.variant}:
        size = recorded.row(found.smallest or "").size
        yield f"Smallest engine: {recorded.name(found.smallest or '')}, {byte_size((size and size.engine_bytes) or 0)}."
    threads = {row.variant.place: row.latency.threads for row in recorded.ran if row.latency}
    if len(set(threads.values())) > 1:
        yield f"Threads differ, as the scenario says: {', '.join(f'{name} {n}' for name, n in threads.items())}."
    agreement = [
        (recorded.name(row.variant.id), row.metrics[AGREEMENT]) for row in recorded.ran if AGREEMENT in row.metrics
    ]
    if agreement and recorded.unknown("labels"):
        shown = listed([f"{name} {percent(each.value, 1)}" for name, each in agreement])
        yield f"Same class as FP32 on {counted(agreement[0][1].n or 0, 'image')}: {shown}."


def _why_it(recorded: RecordedDecision, row: Row) -> Iterator[str]:
    found, latency = recorded.decision, row.latency
    if latency is None or row.variant.method == "fp32":
        return
    interval = f" ({speed_interval(found.speedup_interval.ends)})" if found.speedup_interval else ""
    reference = recorded.row(found.reference) if found.reference else None
    before = f" instead of {milliseconds(reference.latency.median_ms)}" if reference and reference.latency else ""
    gain = f"{speed(found.speedup)}{interval}, " if found.speedup is not None else ""
    yield f"Faster: {gain}{milliseconds(latency.median_ms)}{before}."
    quality_found, ends = quality(row), _ends(found)
    if quality_found is not None and ends is not None:
        largest = f"{points(ends[1])} points" if quality_found.name == TOP1 else f"{ends[1]:.4f}"
        loss = f"loses at most {largest}" if ends[1] > 0 else "loses nothing"
        yield f"Accuracy kept: {quality_found.name} {loss} on {_images(row)}; the margin is {_margin(row)}."


def _open_accuracy(recorded: RecordedDecision, point: OpenPoint) -> str:
    row = recorded.row(point.variants[0])
    count = len(point.variants)
    need = (
        f"about {point.images:,} test images prove it{'' if count == 1 else ' of the first'} if its loss is what was "
        f"observed (this run: {_images(row)})"
        if point.images
        else "more test images decide; the observed loss is no smaller than the margin"
    )
    return f"Whether {recorded.names(point.variants)} keep{'s' if count == 1 else ''} accuracy: {need}."


def _open_speed(recorded: RecordedDecision, point: OpenPoint) -> str:
    verb = "is" if len(point.variants) == 1 else "are"
    return f"Whether {recorded.names(point.variants)} {verb} faster than FP32: {_MORE_ROUNDS}"


def _open_engine(recorded: RecordedDecision, point: OpenPoint) -> str:
    return f"Whether {recorded.names(point.variants)} would be faster still: {_MORE_ROUNDS}"


_MORE_ROUNDS = "a larger `measurement.budget_s` or a quieter machine decides."


def _open_simulated(recorded: RecordedDecision, point: OpenPoint) -> str:
    return f"The speed of {recorded.names(point.variants)}: simulated, no engine here runs these numbers as integers."


def _open_not_run(recorded: RecordedDecision, point: OpenPoint) -> str:
    rows = [recorded.row(each) for each in point.variants]
    groups = Counter((row.variant.place, row.status, row.reason) for row in rows)
    parts = [
        f"{counted(count, 'variant')} on {place} {'built but not run' if status == 'built' else status}"
        + (f" ({reason})" if reason else "")
        for (place, status, reason), count in groups.items()
    ]
    return f"Not run here: {listed(parts, at_most=3)}."


_OPEN: dict[str, Callable[[RecordedDecision, OpenPoint], str]] = {
    "labels": lambda *_: "Whether accuracy is kept: test images with labels decide.",
    "latency": lambda *_: "Whether anything is faster: `measurement.latency` decides.",
    "accuracy": _open_accuracy,
    "speed": _open_speed,
    "engine": _open_engine,
    "simulated": _open_simulated,
    "not_run": _open_not_run,
}
