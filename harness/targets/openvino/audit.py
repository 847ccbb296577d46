"""What a compiled OpenVINO network really executes, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.exporting.macs import WeightedLayer, weighted_layers
from harness.results import Layer
from harness.targets.onnxruntime.audit import not_found
from harness.targets.onnxruntime.reasons import SourceModel
from harness.targets.openvino.own_model import SUFFIX, with_factors_of
from harness.targets.openvino.reasons import CompiledEngine, float_reason

if TYPE_CHECKING:
    import openvino

    from harness.targets.openvino import OpenVinoOptions

FUSED_BODY = "Subgraph"
"""One generated kernel for several ops; all of an attention's may be in it."""
PRODUCTS = {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNCell", "RNNSeq", "LSTMCell", "LSTMSequence"}
PRODUCTS |= {"GRUCell", "GRUSequence", "MHA", "ScaledDotProductAttention", FUSED_BODY}
"""Kinds of layers that may multiply tensors with each other."""
_HIDDEN = {"Const", "Constant", "Input", "Parameter", "Output", "Result"}
_TYPES = {"f32": "float", "f16": "float16", "bf16": "bfloat16", "u8": "uint8", "i8": "int8", "i32": "int32"}
_INTEGERS = {"uint8", "int8"}
_ADDED = re.compile(r"(/WithoutBiases|/Dequantization\w+|/Add|/fq_input_\d+|/fq_output_\d+)+$")
"""What OpenVINO's transformations append to the name of an op."""
_MERGED = "not found among the engine's layers: OpenVINO merged it into another one"


@dataclass(frozen=True)
class Executed:
    """One layer of the compiled network."""

    name: str
    kind: str
    kernel: str
    """OpenVINO's name of the implementation, for instance `brgconv_avx512_I8`."""
    precision: str
    """Precision in which it computes."""
    inputs: tuple[str, ...]
    output: str
    names: tuple[str, ...]
    """Under which the file may know it, and all that is fused into it."""
    is_constant: bool
    """Whether it is computed once, when the network is compiled."""


def audit(compiled: openvino.CompiledModel, onnx_path: Path, options: OpenVinoOptions) -> tuple[Layer, ...]:
    """Every executed layer with its types; those that multiply with their MACs for one sample.

    A kernel that multiplies several times is one row for each layer of the file. Every layer that does not run on
    integers has its reason, but for the conversions between float and integers.
    """
    executed = [layer for layer in executed_layers(compiled) if not layer.is_constant]
    is_own_model = onnx_path.suffix == SUFFIX
    source = onnx_path.with_suffix(".onnx") if is_own_model else onnx_path
    sources = weighted_layers(source, options.input_shapes)
    sources = with_factors_of(onnx_path, sources) if is_own_model else sources
    engine = CompiledEngine(
        SourceModel.load(source), has_integer_kernels=options.integer_kernels, is_own_model=is_own_model
    )
    executing = _matched(executed, sources)
    _match_renamed(executing, executed, sources, engine)
    rows: list[Layer] = []
    for layer in executed:
        found = executing.get(layer.name, [])
        rows += [_product(layer, weighted, engine) for weighted in found] or [_other(layer, engine)]
    known = {weighted.name for found in executing.values() for weighted in found}
    return (*rows, *(not_found(layer, _MERGED) for layer in sources if layer.name not in known))


def executed_layers(compiled: openvino.CompiledModel) -> list[Executed]:
    """The layers of the compiled network in the order in which they are executed."""
    constants: set[str] = set()
    layers: list[Executed] = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {key: value.astype(str) for key, value in node.get_rt_info().items() if key in _INFORMATION}
        sources = [value.get_source_output().get_node().get_friendly_name() for value in node.inputs()]
        kind = info.get("layerType", node.get_type_name())
        name = node.get_friendly_name()
        is_constant = kind in ("Const", "Constant") or (bool(sources) and constants.issuperset(sources))
        if is_constant:
            constants.add(name)
        if kind in _HIDDEN:
            continue
        layers.append(
            Executed(
                name=name,
                kind=kind,
                kernel=info.get("primitiveType", ""),
                precision=_type(info.get("runtimePrecision", "")),
                inputs=tuple(_type(value.get_element_type().get_type_name()) for value in node.inputs()),
                output=_type(info.get("outputPrecisions", "").split(",")[0]),
                names=_names(info.get("originalLayersNames", "")),
                is_constant=is_constant,
            )
        )
    return layers


_INFORMATION = {"layerType", "primitiveType", "runtimePrecision", "outputPrecisions", "originalLayersNames"}


def _names(text: str) -> tuple[str, ...]:
    given = [name for name in text.split(",") if name]
    return tuple(dict.fromkeys(each for name in given for each in (name, _ADDED.sub("", name))))


def _type(name: str) -> str:
    return _TYPES.get(name.lower(), name.lower() or "unknown")


def _matched(executed: Sequence[Executed], sources: Iterable[WeightedLayer]) -> dict[str, list[WeightedLayer]]:
    """The layers of the file that each executed layer computes, by its name; no layer twice.

    Names of their own come first: an op that was fused behind a layer may lend it the name of its output.
    """
    left = {layer.name: layer for layer in sources}
    found: dict[str, list[WeightedLayer]] = {}
    products = sorted((each for each in executed if each.kind in PRODUCTS), key=lambda each: each.kind == FUSED_BODY)
    for names_of in (WeightedLayer.own_names, WeightedLayer.fused_names):
        for layer in products:
            if found.get(layer.name) and layer.kind != FUSED_BODY:
                continue
            named = {name: each for each in left.values() for name in names_of(each)}
            for weighted in dict.fromkeys(named[name].name for name in layer.names if name in named):
                if layer.kind == FUSED_BODY or not found.get(layer.name):
                    found.setdefault(layer.name, []).append(left.pop(weighted))
    return found


def _match_renamed(
    found: dict[str, list[WeightedLayer]],
    executed: Sequence[Executed],
    sources: Iterable[WeightedLayer],
    engine: CompiledEngine,
) -> None:
    """Add products of activations that took the name of an op behind them, into which their scales were merged."""
    known = {weighted.name for each in found.values() for weighted in each}
    bodies = [layer for layer in executed if layer.kind in (FUSED_BODY, "MatMul", "MHA")]
    for weighted in sources:
        if weighted.name in known or weighted.op != "MatMul":
            continue
        names = set(engine.names_behind(weighted))
        body = next((layer for layer in bodies if names.intersection(layer.names)), None)
        if body is not None and (body.kind == FUSED_BODY or body.name not in found):
            found.setdefault(body.name, []).append(weighted)


def _product(layer: Executed, weighted: WeightedLayer, engine: CompiledEngine) -> Layer:
    is_body = layer.kind == FUSED_BODY
    # Inside of one kernel for several ops nothing is shown but its inputs; a factor that is float in the file is float.
    multiplies_integers = (
        all(each in _INTEGERS for each in layer.inputs) and weighted.is_quantized
        if is_body
        else layer.precision in _INTEGERS and all(each in _INTEGERS for each in layer.inputs[:2])
    )
    second = layer.inputs[1] if len(layer.inputs) > 1 else "unknown"
    return Layer(
        name=weighted.name,
        op=_op(layer),
        input_type=layer.precision,
        # Float weights are converted to the precision of the kernel when it is made.
        weight_type=second if layer.precision in _INTEGERS else layer.precision,
        output_type=layer.output,
        macs=weighted.macs,
        executed_as=layer.name,
        int8=multiplies_integers,
        reason=None if multiplies_integers else float_reason(layer.kind, (weighted.name,), engine, weighted),
    )


def _other(layer: Executed, engine: CompiledEngine) -> Layer:
    read = layer.inputs if layer.kind == FUSED_BODY else (layer.precision,)
    is_integer = layer.output in _INTEGERS and all(each in _INTEGERS for each in read)
    is_conversion = not _INTEGERS.isdisjoint((*read, layer.output)) and engine.only_converts(layer.kind, layer.names)
    return Layer(
        name=layer.name,
        op=_op(layer),
        input_type=layer.precision,
        weight_type=None,
        output_type=layer.output,
        macs=0,
        executed_as=layer.name,
        int8=is_integer,
        reason=None if is_integer or is_conversion else float_reason(layer.kind, layer.names, engine),
    )


def _op(layer: Executed) -> str:
    return f"{layer.kind} ({layer.kernel})" if layer.kernel else layer.kind
