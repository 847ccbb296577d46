"""What an optimized ONNX Runtime graph really executes, layer by layer."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from harness.export.macs import WEIGHTED_OPS, WeightedLayer, weighted_layers
from harness.results import Layer
from harness.targets.onnxruntime.reasons import CONVERSIONS, Source, float_reason

_INTEGER_TYPES = {TensorProto.INT8, TensorProto.UINT8}
_FLOAT_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UNDEFINED}
WEIGHT_INPUT = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "ConvInteger": 1, "MatMulInteger": 1}
WEIGHT_INPUT |= {"MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1}
_SUFFIX = re.compile(r"(_token_\d+|_nchwc|_nhwc|/MatMulAddFusion|_quant)+$")
_FLOAT_OUTPUT = {"DequantizeLinear", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
_QGEMM_QUANTIZED_INPUTS = 9
_FLOAT_WEIGHTED_OPS = WEIGHTED_OPS | {"FusedConv", "FusedGemm", "FusedMatMul"}
_ACTIVATION_INPUT = {"QLinearConcat": 2}  # after scale and zero point of the output
_HIDDEN_OPS = {"Constant"}


def audit(engine_path: Path, onnx_path: Path) -> tuple[Layer, ...]:
    """Every node of the engine with its types; conv and gemm layers with their MACs for one sample.

    Every op that does not run on integers has its reason, but for the conversions between float and integers.
    """
    engine = onnx.load(engine_path)
    source_layers = {alias: layer for layer in weighted_layers(onnx_path) for alias in layer.aliases}
    types = element_types(engine)
    source = Source.load(onnx_path)
    return tuple(
        _layer(node, types, _source_of(node, source_layers), source)
        for node in engine.graph.node
        if node.op_type not in _HIDDEN_OPS
    )


def _layer(node: NodeProto, types: dict[str, int], weighted: WeightedLayer | None, source: Source) -> Layer:
    activation = types.get(_input(node, _ACTIVATION_INPUT.get(node.op_type, 0)) or "", 0)
    weight_name = _input(node, WEIGHT_INPUT.get(node.op_type, 1 if node.op_type in _FLOAT_WEIGHTED_OPS else None))
    weight = types.get(weight_name, 0) if weight_name is not None else None
    if weight is None:
        int8 = activation in _INTEGER_TYPES and node.op_type not in CONVERSIONS
        weighted = None
    else:
        int8 = node.op_type in WEIGHT_INPUT and weight in _INTEGER_TYPES
    is_explained = int8 or node.op_type in CONVERSIONS
    names = source_names(node) if weighted is None else (weighted.name,)  # not of an activation fused into it
    return Layer(
        name=weighted.name if weighted is not None else node.name or node.output[0],
        op=node.op_type,
        input_type=_type_name(activation),
        weight_type=None if weight is None else _type_name(weight),
        output_type=_type_name(types.get(node.output[0], 0)),
        macs=weighted.macs if weighted is not None else 0,
        int8=int8,
        reason=None if is_explained else float_reason(node.op_type, activation in _FLOAT_TYPES, names, source),
    )


def _input(node: NodeProto, index: int | None) -> str | None:
    return node.input[index] if index is not None and index < len(node.input) else None


def _source_of(node: NodeProto, layers: dict[str, WeightedLayer]) -> WeightedLayer | None:
    return next((layers[name] for name in source_names(node) if name in layers), None)


def source_names(node: NodeProto) -> tuple[str, ...]:
    """Names under which the ONNX file may know the node."""
    return (*names_in_file(node.name), *node.output)


def names_in_file(name: str) -> tuple[str, ...]:
    """What a node of the optimized graph may have been called in the file: the optimizer appends to names."""
    return (name, _SUFFIX.sub("", name))


def element_types(model: ModelProto) -> dict[str, int]:
    """Type of every tensor; ONNX's own inference does not know ONNX Runtime's operators."""
    graph = model.graph
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output):
        types.setdefault(value.name, int(value.type.tensor_type.elem_type))
    for node in graph.node:
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
