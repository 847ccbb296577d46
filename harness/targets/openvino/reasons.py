"""Why a layer of a compiled OpenVINO network runs in float."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from harness.exporting.mac_formulas import factors
from harness.exporting.macs import WeightedLayer
from harness.targets.onnxruntime.reasons import CONVERSIONS, SourceModel

MOVING = {"Reshape", "Transpose", "Split", "Gather", "StridedSlice", "Concatenation", "DepthToSpace", "SpaceToDepth"}
MOVING |= {"Squeeze", "Unsqueeze", "Tile", "Broadcast", "Pad", "ShuffleChannels", "Interpolate"}
"""Kinds of layers whose outputs hold values of their inputs."""
_LAYOUT = {"Reorder", "Convert"}
_CONVERTING = {"FakeQuantize", "Subgraph", "Eltwise", "Convert", "Reorder"}
_FAKE_QUANTIZE = {"FakeQuantize"}
_HAS_KERNEL = {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "Pooling", "Reduce", "Subgraph", "Eltwise"}
_LEFT_OUT = "its input has 16 bits in the ONNX file, and OpenVINO leaves 16-bit Q/DQ out"
_SATURATES = (
    "this CPU has no 8-bit dot products, and OpenVINO's integer kernels would saturate with 8-bit weights; "
    "`weight_bits: 7` runs on integers"
)


@dataclass(frozen=True)
class CompiledEngine:
    """What decides about the layers of an engine."""

    source: SourceModel = field(repr=False)
    """The file it was built from."""
    has_integer_kernels: bool
    """Whether it was compiled with them."""
    is_own_model: bool = False
    """Whether it was built from a model in OpenVINO's own format; `source` is then the FP32 file beside it."""

    def only_converts(self, kind: str, names: tuple[str, ...]) -> bool:
        """Whether a layer of this kind, known by these names, does nothing but quantize and dequantize."""
        ops = {self.source.nodes[name].op_type for name in names if name in self.source.nodes}
        return kind in _CONVERTING and bool(ops) and ops <= CONVERSIONS

    def names_behind(self, layer: WeightedLayer) -> Iterator[str]:
        """Names of the ops that alone read the layer's output, up to the next one that multiplies."""
        readers = self.source.index.users.get(layer.outputs[0], [])
        while len(readers) == 1 and len(factors(readers[0])) < 2:
            (node,) = readers
            yield from filter(None, (node.name, *node.output))
            readers = self.source.index.users.get(node.output[0], [])


def float_reason(kind: str, names: tuple[str, ...], engine: CompiledEngine, layer: WeightedLayer | None = None) -> str:
    """Why the layer of this kind, which is known by these names and computes `layer` of the file, is a float layer."""
    nodes = [engine.source.nodes[name] for name in names if name in engine.source.nodes]
    rules = (
        (kind in _LAYOUT, "changes the memory layout for a float neighbour"),
        (not engine.source.is_quantized and not engine.is_own_model, "the ONNX file is not quantized"),
        (kind in MOVING, "only moves values"),
        (any(map(engine.source.reads_16_bits, nodes)), _LEFT_OUT),
        (not engine.has_integer_kernels, _SATURATES),
        (kind in _FAKE_QUANTIZE, "rounds float values"),
        (layer is None and kind not in _HAS_KERNEL, f"OpenVINO has no integer {kind} kernel"),
    )
    reason = next((reason for holds, reason in rules if holds), None)
    if reason is not None:
        return reason
    if engine.is_own_model:
        floats = None if layer is None else layer.float_factors("the toolkit's model")
        return floats or "OpenVINO did not fuse it with FakeQuantize nodes of the toolkit's model"
    return _unquantized(nodes, engine.source) if layer is None else _product_reason(layer, engine.source)


def _product_reason(layer: WeightedLayer, source: SourceModel) -> str:
    node = next((source.nodes[name] for name in layer.own_names() if name in source.nodes), None)
    if node is not None and node.op_type == "ConvTranspose" and _groups(node) > 1:
        return "OpenVINO has no integer kernel for transposed convolutions with groups"
    floats = layer.float_factors()
    if floats is not None:
        return floats
    if node is not None and node.op_type == "MatMul" and _has_zero_point(node, source):
        return "OpenVINO multiplies two activations as integers only where their zero points are 0"
    return "OpenVINO did not fuse its Q/DQ nodes"


def _groups(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _has_zero_point(node: NodeProto, source: SourceModel) -> bool:
    """Whether a computed factor is quantized around another number than 0."""
    for name in node.input[:2]:
        producer = source.index.producers.get(source.index.origin(name))
        if producer is None or producer.op_type != "DequantizeLinear" or len(producer.input) < 3:
            continue
        values = source.array(producer.input[2])
        if values is not None and bool(np.any(values)):
            return True
    return False


def _unquantized(nodes: Sequence[NodeProto], source: SourceModel) -> str:
    inputs = [name for node in nodes[:1] for name in node.input if name and not source.is_constant(name)]
    if inputs and all(map(source.is_dequantized, inputs)):
        return "its output is read in float"
    return "its input is float in the ONNX file"
