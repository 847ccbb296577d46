"""The tables of the parity chain: likeness of neighbouring representations, losses of accuracy, layers at fault."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from harness.report.tables import Table
from harness.report.variants import NONE
from harness.results import Agreement, LayerParity, PairedComparison, Parity, ParityStep, Row, RunResults
from harness.words.phrases import NOT_FINITE, listed, p_value, percent, plus_minus

REPRESENTATION_NAMES = {
    "torch_fp32": "eager FP32",
    "onnx_fp32": "ONNX FP32",
    "torch_quantized": "fake-quantized torch",
    "onnx_quantized": "Q/DQ ONNX",
    "onnx_fp16": "ONNX FP16",
    "engine": "engine",
}
_DIRECT = {
    "torch_vs_onnx": "torch → ONNX",
    "onnx_vs_engine": "ONNX → engine",
    "torch_vs_engine": "torch → engine",
}
_CHANNELS_SHOWN = 4


def in_words(step: str) -> str:
    """`onnx_quantized → engine` as `Q/DQ ONNX → engine`."""
    return " → ".join(REPRESENTATION_NAMES.get(representation, representation) for representation in step.split(" → "))


def losses_table(results: RunResults) -> Table | None:
    """Every step that is proven to lose accuracy, with the one that loses most marked."""
    rows = [
        (
            row.variant.id,
            in_words(_name(step)) + (" (the most)" if parity.lossy_step == _name(step) else ""),
            _loss(step.comparison),
            NONE if step.comparison.p_value is None else p_value(step.comparison.p_value),
            f"{step.n:,}",
        )
        for row, parity in _parities(results)
        for step in parity.steps
        if step.loses and step.comparison is not None
    ]
    caption = "Steps on the way from the eager network to the engine that are proven to lose top-1, in points"
    return _table(caption, "Variant|Step|Loss|Test|n", rows, {2, 3, 4})


def chain_table(results: RunResults) -> Table | None:
    """How alike neighbouring representations of every variant are, one column per step."""
    steps = list(dict.fromkeys(_name(step) for _, parity in _parities(results) for step in parity.steps))
    if not steps:
        return direct_table(results)
    rows = []
    for row, parity in _parities(results):
        found = {_name(step): step for step in parity.steps}
        absent = "; ".join(
            f"{REPRESENTATION_NAMES.get(representation, representation)}: {reason}"
            for representation, reason in parity.absent.items()
        )
        rows.append((row.variant.id, *(_step(found.get(step)) for step in steps), absent or NONE))
    caption = (
        "Same top-1, signal-to-quantization-noise ratio, largest error, and loss of top-1 in points (* proven) of each "
        "step on the same samples"
    )
    headings = "|".join(["Variant", *map(in_words, steps), "Not in the chain"])
    return _table(caption, headings, rows, set(range(1, len(steps) + 1)))


def direct_table(results: RunResults) -> Table | None:
    """The same for runs without a chain: torch, ONNX file and engine in pairs."""
    steps = [step for step in _DIRECT if any(_agreement(parity, step) for _, parity in _parities(results))]
    rows = [
        (row.variant.id, *(likeness(_agreement(parity, step)) for step in steps)) for row, parity in _parities(results)
    ]
    headings = "|".join(["Variant", *(_DIRECT[step] for step in steps)])
    caption = "Same top-1, signal-to-quantization-noise ratio and largest error between stages, on the same samples"
    return _table(caption, headings, rows, set(range(1, len(steps) + 1)))


def faults_table(results: RunResults) -> Table | None:
    """For each variant and step: how many layers were compared, and the first that is off."""
    rows = []
    for row, parity in _parities(results):
        for step in dict.fromkeys(layer.step for layer in parity.layers):
            layers = [layer for layer in parity.layers if layer.step == step]
            faults = [layer for layer in layers if layer.is_fault]
            rows.append(
                (
                    row.variant.id,
                    in_words(step),
                    f"{len(layers)}",
                    _fault(faults[0]) if faults else "none",
                    listed([layer.layer for layer in faults[1:]], at_most=3) if faults[1:] else NONE,
                )
            )
    caption = "Tensors that were compared, each computed from its reference's inputs, and those that are off"
    return _table(caption, "Variant|Step|Tensors|First at fault|Further", rows, {2})


def layers_table(results: RunResults) -> Table | None:
    """Every compared tensor."""
    rows = [
        (
            row.variant.id,
            in_words(layer.step),
            layer.layer,
            f"{layer.op}, {layer.kind}",
            decibels(layer.sqnr_db),
            decibels(layer.accumulated_sqnr_db),
            f"{layer.largest_steps:.2g}",
            f"{layer.noise_steps2:.2g}",
            _channels(layer) if layer.is_fault else NONE,
        )
        for row, parity in _parities(results)
        for layer in parity.layers
    ]
    headings = "Variant|Step|Layer|What|SQNR, alone|SQNR, with all before|Largest error, steps|Noise, steps²|At fault"
    return _table("Layer by layer", headings, rows, {4, 5, 6, 7})


def likeness(alike: Agreement | None) -> str:
    """Agreement, SQNR and largest error in one cell."""
    if alike is None:
        return NONE
    noise = decibels(alike.sqnr_db)
    if alike.max_abs_error and not math.isinf(alike.max_abs_error):
        noise = f"{noise if alike.sqnr_db is not None else 'no signal'}, {alike.max_abs_error:.2g}"
    return f"{percent(alike.top1_agreement)}, {noise}"


def _step(step: ParityStep | None) -> str:
    if step is None or step.comparison is None:
        return likeness(step)
    return f"{likeness(step)}, {_loss(step.comparison)}{' *' if step.loses else ''}"


def _loss(compared: PairedComparison) -> str:
    assert compared.loss is not None
    return plus_minus(compared.loss, compared.loss_interval or (compared.loss, compared.loss))


def _parities(results: RunResults) -> Iterator[tuple[Row, Parity]]:
    return ((row, row.parity) for row in results.rows if row.parity is not None)


def _agreement(parity: Parity, step: str) -> Agreement | None:
    found: Agreement | None = getattr(parity, step)
    return found


def _name(step: ParityStep) -> str:
    return f"{step.start} → {step.end}"


def _fault(layer: LayerParity) -> str:
    return f"{layer.layer} ({layer.op}), {_channels(layer)}"


def _channels(layer: LayerParity) -> str:
    if layer.n_faulty_channels == layer.n_channels:
        return "all channels"
    shown = ", ".join(map(str, layer.faulty_channels[:_CHANNELS_SHOWN]))
    more = layer.n_faulty_channels - min(len(layer.faulty_channels), _CHANNELS_SHOWN)
    word = "channel" if layer.n_faulty_channels == 1 else "channels"
    return f"{word} {shown}" + (f" and {more} more" if more else "") + f" of {layer.n_channels}"


def decibels(value: float | None) -> str:
    """One decimal; None is `identical`."""
    if value is None:
        return "identical"
    return NOT_FINITE if math.isinf(value) else f"{value:.1f} dB"


def _table(caption: str, headings: str, rows: Iterable[Sequence[str]], numeric: set[int]) -> Table | None:
    kept = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(headings.split("|")), kept, frozenset(numeric)) if kept else None
