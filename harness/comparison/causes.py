"""What may have changed a figure from one run to the next, as far as both recorded it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.comparison.environment_rules import EVERYTHING
from harness.comparison.environments import EnvironmentDifference
from harness.comparison.snapshot import STAGES, Snapshot
from harness.figures import catalog
from harness.results import Layer, Row
from harness.words.phrases import byte_size, listed, milliseconds, points, step_words

_LISTED = 4
_FP32_CHANGE = 0.02
"""Relative change of FP32's own time from which it is worth a word."""
_FLOATS = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")


@dataclass(frozen=True)
class VariantPair:
    """One variant in both runs, and the conditions that differ between them."""

    base: Snapshot
    new: Snapshot
    variant_id: str
    differences: Sequence[EnvironmentDifference]

    @property
    def rows(self) -> tuple[Row, Row]:
        """Before and after."""
        return self.base.rows[self.variant_id], self.new.rows[self.variant_id]

    @property
    def fp32_rows(self) -> tuple[Row | None, Row | None]:
        """The FP32 rows that both are judged against."""
        before, after = (side.results.fp32_of(side.rows[self.variant_id].variant) for side in (self.base, self.new))
        return before, after


def causes_of(pair: VariantPair, metric: str) -> tuple[str, ...]:
    """Sentences without a full stop, the most telling first; empty where nothing that was recorded explains it."""
    section = metric.partition(".")[0]
    own = _BY_SECTION.get(section, _nothing)
    return tuple(dict.fromkeys([*own(pair), *_origin(pair, section)]))


def _coverage(pair: VariantPair) -> Iterator[str]:
    before, after = map(_layers, pair.rows)
    lost = [after[name] for name in before.keys() & after.keys() if before[name].int8 and not after[name].int8]
    won = [after[name] for name in before.keys() & after.keys() if not before[name].int8 and after[name].int8]
    if lost:
        yield f"no longer INT8: {_named(lost)}"
    if won:
        yield f"INT8 now, not before: {_named(won)}"
    yield from _other_layers(before, after)


def _size(pair: VariantPair) -> Iterator[str]:
    before, after = map(_layers, pair.rows)
    types: dict[tuple[str | None, str | None], list[str]] = {}
    for name in before.keys() & after.keys():
        change = before[name].weight_type, after[name].weight_type
        if change[0] != change[1]:
            types.setdefault(change, []).append(name)
    for (old, new), names in types.items():
        yield f"weights are {new} in the engine, {old} before: {listed(sorted(names), at_most=_LISTED)}"
    yield from _other_layers(before, after)
    stored = pair.base.of(pair.variant_id).stored_bytes, pair.new.of(pair.variant_id).stored_bytes
    if all(stored):
        floats = [sum(found.get(name, 0) for name in _FLOATS) for found in stored]
        others = [sum(found.values()) - part for found, part in zip(stored, floats, strict=True)]
        if floats != [floats[0]] * 2 or others != [others[0]] * 2:
            yield (
                f"the ONNX file stores {byte_size(floats[1])} of FP32 weights and {byte_size(others[1])} as "
                f"integers, before {byte_size(floats[0])} and {byte_size(others[0])}"
            )


def _accuracy(pair: VariantPair) -> Iterator[str]:
    before, after = pair.rows
    for figure in catalog().values():
        if figure.section == "parity" and figure.unit == "dB" and figure.margin is not None:
            levels = pair.base.results.confidence, pair.new.results.confidence
            old, new = figure.read(before, levels[0]), figure.read(after, levels[1])
            if old is not None and new is not None and old.value - new.value > figure.margin.size:
                step = step_words(figure.name.split(".")[1])
                yield f"the step {step} got lossier: {new.value:.1f} dB after {old.value:.1f} dB"
    lossy = after.parity.lossy_step if after.parity is not None else None
    if lossy is not None and (before.parity is None or before.parity.lossy_step != lossy):
        yield f"the step that is proven to lose accuracy is {lossy}"
    if before.variant.method != "fp32":
        references = [row.accuracy.top1 if row and row.accuracy else None for row in pair.fp32_rows]
        if references[0] is not None and references[1] is not None and references[0] != references[1]:
            change = points(references[1] - references[0], sign=True)
            yield f"FP32 itself changed by {change} points: {_weights_words(pair)}"
    yield from _coverage(pair)


def _weights_words(pair: VariantPair) -> str:
    """What both records say of the network's FP32 weights."""
    model = pair.rows[1].variant.model
    before, after = (
        next((each.sha256 for each in side.results.fp32_weights if each.model == model), None)
        for side in (pair.base, pair.new)
    )
    if before is None or after is None:
        return "whether its weights are others is unknown, as not both runs recorded their checksum"
    return "its weights are the same" if before == after else f"its weights are others (sha256 {after[:12]})"


def _latency(pair: VariantPair) -> Iterator[str]:
    yield from _coverage(pair)
    if any(each.severity == "refuse" and "latency" in each.affects for each in pair.differences):
        return
    times = [row.latency.median_ms if row and row.latency else None for row in pair.fp32_rows]
    if times[0] is not None and times[1] is not None and abs(times[1] / times[0] - 1) > _FP32_CHANGE:
        yield f"FP32's own median went from {milliseconds(times[0])} to {milliseconds(times[1])}"


def _nothing(pair: VariantPair) -> Iterator[str]:
    yield from ()


_BY_SECTION: Mapping[str, Callable[[VariantPair], Iterator[str]]] = {
    "coverage": _coverage,
    "size": _size,
    "accuracy": _accuracy,
    "latency": _latency,
    "parity": _coverage,
    "memory": _size,
}


def _origin(pair: VariantPair, section: str) -> Iterator[str]:
    """The first stage whose key changed, and recorded conditions that can explain it."""
    before, after = (side.of(pair.variant_id).stages for side in (pair.base, pair.new))
    changed = [stage for stage in STAGES if before and after and before.get(stage) != after.get(stage)]
    if not before or not after:
        which = "neither run" if not before and not after else "the base" if not before else "the new run"
        verb = "recorded the keys" if which == "neither run" else "did not record the keys"
        yield f"unknown which stage changed: {which} {verb} of its stages"
    if changed:
        yield f"`{changed[0]}` is the first stage whose settings, inputs, code or libraries changed"
    for difference in pair.differences:
        if difference.severity == "note" or not _may_explain(difference, section):
            continue
        yield f"{difference.what} is {_shown(difference.new)}, before {_shown(difference.base)}"
    counts = pair.base.results.calibration_samples, pair.new.results.calibration_samples
    for name in sorted(counts[0].keys() & counts[1].keys()):
        if counts[0][name] != counts[1][name]:
            yield f"{counts[1][name]} samples calibrated {name}, before {counts[0][name]}"
    if changed and (commits := _commits(pair)):
        yield commits


def _may_explain(difference: EnvironmentDifference, section: str) -> bool:
    if difference.what == "git.dirty":
        return False
    made_from = difference.what.startswith(("datasets.", "weights."))
    return section in difference.affects or difference.affects == EVERYTHING or (made_from and section != "latency")


def _commits(pair: VariantPair) -> str | None:
    old, new = ((side.results.environment.get("git") or {}).get("commit") for side in (pair.base, pair.new))
    return f"commit {str(new)[:10]}, before {str(old)[:10]}" if old and new and old != new else None


def _layers(row: Row) -> dict[str, Layer]:
    layers = row.coverage.layers if row.coverage is not None else ()
    return {layer.name: layer for layer in layers if layer.weight_type is not None}


def _other_layers(before: Mapping[str, Layer], after: Mapping[str, Layer]) -> Iterator[str]:
    if before and after:
        for words, names in (("new", after.keys() - before.keys()), ("gone", before.keys() - after.keys())):
            if names:
                yield f"layers that are {words}: {listed(sorted(names), at_most=_LISTED)}"


def _named(layers: Sequence[Layer]) -> str:
    ordered = sorted(layers, key=lambda layer: (-layer.macs, layer.name))
    texts = [f"{layer.name} ({layer.reason})" if layer.reason else layer.name for layer in ordered]
    return listed(texts, at_most=_LISTED)


def _shown(value: object) -> str:
    return "not recorded" if value is None else str(value)
