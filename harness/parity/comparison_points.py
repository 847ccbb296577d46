"""Where a Q/DQ ONNX file is compared: its quantized tensors, the outputs of its weighted layers, its own outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from harness.exporting.macs import WEIGHTED_OPS

if TYPE_CHECKING:
    from harness.parity.onnx_graph import Array

_ABSORBED = {"Relu", "Clip"}
_NUMBER = re.compile(r"#\d+$")

Kind = Literal["quantized", "float"]


@dataclass(frozen=True)
class ComparisonPoint:
    """A tensor that two stages both compute."""

    tensor: str
    """Name in the ONNX file."""
    layer: str
    """Name of the node that computes it, which is its module's for layers with weights; `input` for the input."""
    op: str
    kind: Kind
    """`quantized`: integers behind a QuantizeLinear. `float`: what leaves a layer with weights, or the network."""
    element_type: int
    zero_point: int = 0
    """The zero point."""
    node: str = ""
    """Name of the QuantizeLinear; empty for floats."""
    is_output: bool = False
    """Whether it is the network's output."""

    @property
    def is_product(self) -> bool:
        """What leaves a layer with weights, before any activation function."""
        return self.kind == "float" and self.op in WEIGHTED_OPS

    @property
    def module(self) -> str:
        """The layer without the number of its call."""
        return _NUMBER.sub("", self.layer)


def comparison_points(model: ModelProto) -> tuple[ComparisonPoint, ...]:
    """All comparison points in execution order."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    constants = _constants(model)
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {value.name: int(value.type.tensor_type.elem_type) for value in graph.output}
    found: list[ComparisonPoint] = []
    for node in graph.node:
        tensor = node.output[0]
        if node.op_type == "QuantizeLinear":
            found.append(_quantized(node, producers, constants))
        elif tensor in outputs:
            source = computing_node(node, producers) or node
            name = source.name or tensor
            found.append(ComparisonPoint(tensor, name, source.op_type, "float", outputs[tensor], is_output=True))
        elif node.op_type in WEIGHTED_OPS:
            biased = _biased(node, users, constants)
            found.append(ComparisonPoint(biased, node.name or tensor, node.op_type, "float", TensorProto.FLOAT))
    # A sum that leaves the network is the product's and the output's tensor: it counts once.
    return tuple({point.tensor: point for point in reversed(found)}.values())[::-1]


def _biased(node: NodeProto, users: dict[str, list[NodeProto]], constants: dict[str, Array]) -> str:
    """What leaves a MatMul after the bias that stands in an Add of its own: torch's linear layer hands out the sum."""
    readers = users.get(node.output[0], [])
    is_biased = node.op_type == "MatMul" and len(readers) == 1 and readers[0].op_type == "Add"
    if is_biased and any(name in constants for name in readers[0].input):
        return str(readers[0].output[0])
    return str(node.output[0])


def _quantized(node: NodeProto, producers: dict[str, NodeProto], constants: dict[str, Array]) -> ComparisonPoint:
    source = computing_node(producers.get(node.input[0]), producers)
    layer, op = (source.name or source.output[0], source.op_type) if source is not None else ("input", "input")
    zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero_point is None:
        return ComparisonPoint(node.output[0], layer, op, "quantized", TensorProto.UINT8, node=node.name)
    element_type = helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    return ComparisonPoint(
        node.output[0], layer, op, "quantized", element_type, int(zero_point.reshape(-1)[0]), node.name
    )


def _constants(model: ModelProto) -> dict[str, Array]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def computing_node(node: NodeProto | None, producers: dict[str, NodeProto]) -> NodeProto | None:
    """The node before the activation functions that engines fuse into it; None for an input of the network."""
    while node is not None and node.op_type in _ABSORBED and node.input[0] in producers:
        node = producers[node.input[0]]
    return node
