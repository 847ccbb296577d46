"""What an optimized ONNX Runtime graph really executes, layer by layer."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from harness.export.macs import WEIGHTED_OPS, WeightedLayer, weighted_layers
from harness.results import Layer

_INTEGER_TYPES = {TensorProto.INT8, TensorProto.UINT8}
_WEIGHT_INPUT = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "ConvInteger": 1, "MatMulInteger": 1}
_WEIGHT_INPUT |= {"MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1}
_SUFFIX = re.compile(r"(_token_\d+|_nchwc|_nhwc|/MatMulAddFusion|_quant)+$")
_FLOAT_OUTPUT = {"DequantizeLinear", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
_QGEMM_QUANTIZED_INPUTS = 9
_FLOAT_WEIGHTED_OPS = WEIGHTED_OPS | {"FusedConv", "FusedGemm", "FusedMatMul"}
_ACTIVATION_INPUT = {"QLinearConcat": 2}  # after scale and zero point of the output
_HIDDEN_OPS = {"Constant"}


def audit(engine_path: Path, onnx_path: Path) -> tuple[Layer, ...]:
    """Every node of the engine with its types; conv and gemm layers with their MACs for one sample."""
    engine = onnx.load(engine_path)
    source_layers = {alias: layer for layer in weighted_layers(onnx_path) for alias in layer.aliases}
    types = _element_types(engine)
    layers = [
        _layer(node, types, _source_of(node, source_layers))
        for node in engine.graph.node
        if node.op_type not in _HIDDEN_OPS
    ]
    return tuple(layers)


def _layer(node: NodeProto, types: dict[str, int], source: WeightedLayer | None) -> Layer:
    activation = types.get(_input(node, _ACTIVATION_INPUT.get(node.op_type, 0)) or "", 0)
    weight_name = _input(node, _WEIGHT_INPUT.get(node.op_type, 1 if node.op_type in _FLOAT_WEIGHTED_OPS else None))
    weight = types.get(weight_name, 0) if weight_name is not None else None
    if weight is None:
        int8 = activation in _INTEGER_TYPES
    else:
        int8 = node.op_type in _WEIGHT_INPUT and weight in _INTEGER_TYPES
    return Layer(
        name=source.name if source is not None else node.name,
        op=node.op_type,
        input_type=_type_name(activation),
        weight_type=None if weight is None else _type_name(weight),
        output_type=_type_name(types.get(node.output[0], 0)),
        macs=source.macs if source is not None and weight is not None else 0,
        int8=int8,
        reason=None if int8 or weight is None else _reason(source),
    )


def _input(node: NodeProto, index: int | None) -> str | None:
    return node.input[index] if index is not None and index < len(node.input) else None


def _reason(source: WeightedLayer | None) -> str:
    if source is None:
        return "not found in the ONNX file it was built from"
    if not source.weight_is_quantized or not source.input_is_quantized:
        return "not quantized in the ONNX file"
    if not source.output_is_quantized and source.op == "Conv":
        return "its output stays float, and ONNX Runtime has no integer convolution with float output"
    return "ONNX Runtime did not fuse its Q/DQ nodes"


def _source_of(node: NodeProto, layers: dict[str, WeightedLayer]) -> WeightedLayer | None:
    names = (node.name, _SUFFIX.sub("", node.name), *node.output)
    return next((layers[name] for name in names if name in layers), None)


def _element_types(model: ModelProto) -> dict[str, int]:
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
