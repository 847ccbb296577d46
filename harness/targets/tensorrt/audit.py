"""Which convolutions and gemms of the ONNX file an engine really multiplies in INT8, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.exporting.mac_formulas import Shape
from harness.exporting.macs import WeightedLayer, weighted_layers
from harness.results import Layer
from harness.targets.engine_record import EngineLayer
from harness.targets.onnxruntime.audit import not_found
from harness.targets.tensorrt.layers import UNKNOWN

INT8 = "Int8"
_WITHOUT_WORK = {"signal", "wait", "shape_call", "NoOp", "Constant", "constant"}
_POINTWISE = {"kgen", "PointWise", "PointWiseV2", "Reformat", "Shuffle", "Scale", "Quantize", "Dequantize"}
_FLOAT_TYPES = {"Float": "FP32", "Half": "FP16", "BFloat16": "BF16"}
_FAKE_QUANTIZING = "SM75"


def audit(
    engine_layers: Sequence[EngineLayer],
    onnx_path: Path,
    *,
    compute_capability: str | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> tuple[Layer, ...]:
    """Layers that multiply under their names in the ONNX file, and every other kernel that touches floating point.

    `input_shapes` as in `weighted_layers`.
    """
    sources = weighted_layers(onnx_path, input_shapes)
    placed = {source.name: _executing(source.name, engine_layers) for source in sources}
    taken = {id(layer) for layer in placed.values()}
    rows = [_weighted(source, placed[source.name], compute_capability) for source in sources]
    return (*rows, *_others([layer for layer in engine_layers if id(layer) not in taken]))


def _executing(node: str, layers: Sequence[EngineLayer]) -> EngineLayer | None:
    """The engine layer that multiplies for an ONNX node: pointwise kernels around it carry its name, too."""
    naming = [layer for layer in layers if node in layer.onnx_nodes or node in layer.name.split(" + ")]
    kernels = [layer for layer in naming if layer.kind not in _POINTWISE | _WITHOUT_WORK]
    named_after = [layer for layer in kernels if layer.name.startswith(node)]
    weighted = [layer for layer in naming if layer.weights and layer.kind not in _WITHOUT_WORK]
    return next(iter([*named_after, *kernels, *weighted]), None)


def _weighted(source: WeightedLayer, layer: EngineLayer | None, compute_capability: str | None) -> Layer:
    if layer is None:
        return not_found(source, "not found among the engine's layers: it was merged into another one")
    source_type = _first(layer.inputs)
    if source_type == UNKNOWN and layer.weights:  # a kernel has weights of the type that it multiplies in
        source_type = layer.weights[0]
    second = layer.weights[:1] or layer.inputs[1:2]  # without a weight it multiplies two activations
    int8 = source_type == INT8 and second in ((INT8,), ())
    return Layer(
        name=source.name,
        op=layer.kind,
        input_type=source_type,
        # The constants of a layer on dequantized weights start with their scales: it multiplies in its input's type.
        weight_type=_first(layer.weights) if int8 and layer.weights else source_type,
        output_type=_first(layer.outputs),
        macs=source.macs,
        int8=int8,
        reason=None if int8 else _why_float(source, source_type, _first(second), compute_capability),
    )


def _why_float(source: WeightedLayer, source_type: str, second: str, compute_capability: str | None) -> str:
    if source_type == INT8:
        other = _FLOAT_TYPES.get(second, second)
        return f"multiplies INT8 by {other}" + (f": {floats}" if (floats := source.float_factors()) else "")
    precision = _FLOAT_TYPES.get(source_type, source_type)
    floats = source.float_factors()
    if floats is not None:
        return f"left in {precision}: {floats}"
    if compute_capability == _FAKE_QUANTIZING:
        return f"left in {precision}: TensorRT-RTX has no INT8 kernels for SM75 and computes on dequantized values"
    return f"left in {precision} although quantized in the ONNX file: the builder chose no INT8 kernel"


def _others(layers: Sequence[EngineLayer]) -> Iterator[Layer]:
    for layer in layers:
        if layer.kind in _WITHOUT_WORK:
            continue
        types = (*layer.inputs, *layer.outputs)
        int8 = bool(types) and all(each == INT8 for each in types)
        yield Layer(
            name=layer.onnx_nodes[0] if layer.onnx_nodes else layer.name,
            op=layer.kind,
            input_type="+".join(layer.inputs) or "none",
            weight_type=None,
            output_type="+".join(layer.outputs) or "none",
            macs=0,
            int8=int8,
            reason=None if int8 else _why_float_between(layer),
        )


def _why_float_between(layer: EngineLayer) -> str:
    gives, takes = INT8 in layer.outputs, INT8 in layer.inputs
    if gives and takes:
        return "pointwise work between INT8 layers; one of its operands is float"
    if gives:
        return "quantizes what a layer or the input gives in float"
    if takes:
        return "dequantizes: what follows is not quantized in the ONNX file"
    return "neither its inputs nor its outputs are INT8 in the engine"


def _first(types: Sequence[str]) -> str:
    return types[0] if types else "none"


def weight_bytes(layers: Sequence[EngineLayer]) -> int:
    """Bytes of weights and biases as the engine holds them."""
    return sum(layer.weight_bytes for layer in layers)
