"""Multiply-accumulates of the weighted layers of an ONNX file, and how each is quantized there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import NodeProto

WEIGHTED_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_MOVES = {"Transpose", "Reshape"}
_FUSABLE = {"Relu", "Clip", "Add", "QuantizeLinear", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh"}


@dataclass(frozen=True)
class WeightedLayer:
    """A convolution or gemm of the file."""

    name: str
    op: str
    macs: int
    """For one sample."""
    weight_is_quantized: bool
    input_is_quantized: bool
    output_is_quantized: bool
    aliases: tuple[str, ...]
    """Names under which an engine may know it: its own, its output's, and those of ops that fuse into it."""


def weighted_layers(path: Path) -> tuple[WeightedLayer, ...]:
    """All convolutions and gemms of the file, in order."""
    graph = _with_shapes(onnx.load(path)).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, tuple(d.dim_value if d.dim_value > 0 else 1 for d in dims))
    producers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    batch = next((shapes[value.name][0] for value in graph.input if shapes.get(value.name)), 1)
    return tuple(_layer(node, shapes, producers, users, batch) for node in graph.node if node.op_type in WEIGHTED_OPS)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model for a batch of one, with the shape of every tensor."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:  # unset, or -1 as some exporters write it
            dims[0].dim_value = 1
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _layer(
    node: NodeProto,
    shapes: dict[str, tuple[int, ...]],
    producers: dict[str, NodeProto],
    users: dict[str, list[NodeProto]],
    batch: int,
) -> WeightedLayer:
    def dequantized(name: str) -> bool:
        producer = producers.get(name)
        while producer is not None and producer.op_type in _MOVES:
            producer = producers.get(producer.input[0])
        return producer is not None and producer.op_type == "DequantizeLinear"

    followers = _followers(node, users)
    return WeightedLayer(
        name=node.name or node.output[0],
        op=node.op_type,
        macs=_macs(node, shapes, batch),
        weight_is_quantized=dequantized(node.input[1]),
        input_is_quantized=dequantized(node.input[0]),
        output_is_quantized=any(follower.op_type == "QuantizeLinear" for follower in followers),
        aliases=(node.name, *node.output, *(name for follower in followers for name in follower.output)),
    )


def _followers(node: NodeProto, users: dict[str, list[NodeProto]]) -> list[NodeProto]:
    """The chain of single users that an engine may fuse into the layer."""
    chain: list[NodeProto] = []
    current = node
    while True:
        readers = users.get(current.output[0], [])
        if len(readers) != 1 or readers[0].op_type not in _FUSABLE:
            return chain
        current = readers[0]
        chain.append(current)
        if current.op_type == "QuantizeLinear":
            return chain


def _macs(node: NodeProto, shapes: dict[str, tuple[int, ...]], batch: int) -> int:
    weight, output = shapes.get(node.input[1], ()), shapes.get(node.output[0], ())
    if not weight or not output:
        return 0
    if node.op_type == "Conv":
        return math.prod(output[1:]) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":  # every input value meets the kernels of its group's outputs
        return math.prod(shapes.get(node.input[0], ())[1:]) * math.prod(weight[1:])
    inner = shapes.get(node.input[0], (0,))[-1]
    return math.prod(output) // batch * inner  # rows of a reshaped gemm are those of the whole batch
