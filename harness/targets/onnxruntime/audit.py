"""What an optimized ONNX Runtime graph really executes, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from harness.exporting.mac_formulas import Shape, factors
from harness.exporting.macs import WeightedLayer, weighted_layers
from harness.exporting.onnx_index import all_graphs, all_nodes
from harness.results import Layer
from harness.targets.onnxruntime.reasons import CONVERSIONS, SourceModel, float_reason

_INTEGER_TYPES = {TensorProto.INT8, TensorProto.UINT8}
_WIDE_TYPES = {TensorProto.INT16, TensorProto.UINT16}
_FLOAT_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UNDEFINED}
WEIGHT_INPUT = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "ConvInteger": 1, "MatMulInteger": 1}
WEIGHT_INPUT |= {"MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "DynamicQuantizeLSTM": 1, "QAttention": 1}
"""Integer kernels that multiply, with the position of their second factor."""
_SUFFIX = re.compile(r"(_token_\d+|_nchwc|_nhwc|/MatMulAddFusion|_quant)+$")
_FLOAT_OUTPUT = {"DequantizeLinear", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
_QGEMM_QUANTIZED_INPUTS = 9
_ACTIVATION_INPUT = {"QLinearConcat": 2}  # after scale and zero point of the output
_HIDDEN_OPS = {"Constant"}
_MERGED = "not found among the engine's ops: ONNX Runtime's optimizer merged it into another one"


def audit(engine_path: Path, onnx_path: Path, input_shapes: Mapping[str, Shape] | None = None) -> tuple[Layer, ...]:
    """Every node of the engine with its types; layers that multiply with their MACs for one sample.

    Every op that does not run on integers has its reason, but for the conversions between float and integers.
    `input_shapes` as in `weighted_layers`.
    """
    engine = onnx.load(engine_path)
    sources = weighted_layers(onnx_path, input_shapes)
    types = tensor_types(engine)
    source = SourceModel.load(onnx_path)
    nodes = [node for node in all_nodes(engine.graph) if node.op_type not in _HIDDEN_OPS]
    executing = _matched([node for node in nodes if is_product(node)], sources)
    found = {layer.name for layer in executing.values()}
    rows = [_layer(node, types, executing.get(id(node)), source) for node in nodes]
    return (*rows, *(not_found(layer, _MERGED) for layer in sources if layer.name not in found))


def is_product(node: NodeProto) -> bool:
    """Whether the op multiplies tensors with each other."""
    return len(factors(node)) > 1


def _matched(products: Sequence[NodeProto], layers: Iterable[WeightedLayer]) -> dict[int, WeightedLayer]:
    """The layer of the file that each product of the engine executes, by the node's `id`; no layer twice.

    An op that was fused behind a layer may lend it the name of its output: names of their own come first.
    """
    left = {layer.name: layer for layer in layers}
    found: dict[int, WeightedLayer] = {}
    for names_of in (WeightedLayer.own_names, WeightedLayer.fused_names):
        named = {name: layer for layer in left.values() for name in names_of(layer)}
        for node in products:
            layer = next((named[name] for name in source_names(node) if name in named), None)
            if id(node) not in found and layer is not None and layer.name in left:
                found[id(node)] = left.pop(layer.name)
    return found


def not_found(layer: WeightedLayer, reason: str) -> Layer:
    """The row of a layer of the file that no op of the engine is known to execute."""
    return Layer(
        name=layer.name,
        op=layer.op,
        input_type="unknown",
        weight_type="unknown",
        output_type="unknown",
        macs=layer.macs,
        int8=False,
        reason=reason,
    )


def _layer(node: NodeProto, types: dict[str, int], weighted: WeightedLayer | None, source: SourceModel) -> Layer:
    activation = types.get(_input(node, _ACTIVATION_INPUT.get(node.op_type, 0)) or "", 0)
    second = types.get(factors(node)[1], 0) if is_product(node) else None
    if second is None:
        int8 = activation in _INTEGER_TYPES and node.op_type not in CONVERSIONS
    else:
        int8 = node.op_type in WEIGHT_INPUT and second in _INTEGER_TYPES
    is_explained = int8 or node.op_type in CONVERSIONS
    names = source_names(node) if weighted is None else (weighted.name,)  # not of an activation fused into it
    return Layer(
        name=weighted.name if weighted is not None else node.name or node.output[0],
        op=node.op_type,
        input_type=_type_name(activation),
        weight_type=None if second is None else _type_name(second),
        output_type=_type_name(types.get(node.output[0], 0)),
        macs=weighted.macs if weighted is not None else 0,
        executed_as=node.name or None,
        int8=int8,
        reason=None
        if is_explained
        else float_reason(node.op_type, activation in _FLOAT_TYPES | _WIDE_TYPES, names, source, weighted),
    )


def _input(node: NodeProto, index: int | None) -> str | None:
    return node.input[index] if index is not None and index < len(node.input) else None


def source_names(node: NodeProto) -> tuple[str, ...]:
    """Names under which the ONNX file may know the node."""
    return (*names_in_file(node.name), *filter(None, node.output))


def names_in_file(name: str) -> tuple[str, ...]:
    """What a node of the optimized graph may have been called in the file: the optimizer appends to names."""
    return tuple(dict.fromkeys(filter(None, (name, _SUFFIX.sub("", name)))))


def tensor_types(model: ModelProto) -> dict[str, int]:
    """Type of every tensor; ONNX's own inference does not know ONNX Runtime's operators."""
    types: dict[str, int] = {}
    for graph in all_graphs(model.graph):
        types.update({tensor.name: int(tensor.data_type) for tensor in graph.initializer})
        for value in (*graph.input, *graph.output):
            types.setdefault(value.name, int(value.type.tensor_type.elem_type))
    for node in all_nodes(model.graph):
        for output in node.output:
            types.setdefault(output, _output_type(node, types))
    return types


def _output_type(node: NodeProto, types: dict[str, int]) -> int:
    if node.op_type == "QuantizeLinear":
        return types.get(node.input[2], TensorProto.UINT8) if len(node.input) > 2 else TensorProto.UINT8
    if node.op_type in _FLOAT_OUTPUT or (node.op_type == "QGemm" and len(node.input) < _QGEMM_QUANTIZED_INPUTS):
        return TensorProto.FLOAT
    source = 1 if node.op_type == "QLinearConcat" else 0
    return types.get(node.input[source], 0) if len(node.input) > source else 0


def _type_name(element_type: int) -> str:
    return TensorProto.DataType.Name(element_type).lower() if element_type else "unknown"
