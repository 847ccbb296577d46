"""Why an op of a built ONNX Runtime graph runs in float."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import NodeProto

CONVERSIONS = {"QuantizeLinear", "DequantizeLinear"}
NO_CONVOLUTION_WITH_FLOAT_OUTPUT = "ONNX Runtime has no integer convolution with float output"

_MOVES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand", "Slice", "Split", "Gather"}
_MOVES |= {"GatherND", "DepthToSpace", "SpaceToDepth"}
_LAYOUT = {"ReorderInput", "ReorderOutput"}
_POOLS = {"AveragePool", "GlobalAveragePool", "MaxPool"}
_HAS_KERNEL = {"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "Sigmoid", "LeakyRelu", "Softmax", "Resize"} | _POOLS
_ABSORBED = {"Relu", "Clip"}
_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul"}
_PRODUCTS = {"Conv", "Gemm", "MatMul"}


@dataclass(frozen=True)
class Source:
    """The ONNX file that an engine was built from, for looking up what it asked for."""

    is_quantized: bool
    nodes: dict[str, NodeProto] = field(repr=False)
    """By their own names and those of their outputs."""
    producers: dict[str, NodeProto] = field(repr=False)
    users: dict[str, list[NodeProto]] = field(repr=False)
    constants: set[str] = field(repr=False)
    outputs: set[str] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Source:
        """Read the file."""
        graph = onnx.load(path).graph
        users: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                users.setdefault(name, []).append(node)
        return cls(
            is_quantized=any(node.op_type in CONVERSIONS for node in graph.node),
            nodes={name: node for node in graph.node for name in (node.name, *node.output) if name},
            producers={name: node for node in graph.node for name in node.output},
            users=users,
            constants={tensor.name for tensor in graph.initializer},
            outputs={value.name for value in graph.output},
        )

    def is_constant(self, name: str) -> bool:
        """Whether the tensor is known before the network runs."""
        producer = self.producers.get(name)
        if producer is None:
            return name in self.constants
        return producer.op_type == "Constant" or all(self.is_constant(each) for each in producer.input if each)

    def is_dequantized(self, name: str) -> bool:
        """Whether the tensor comes out of a DequantizeLinear, whatever was reshaped since."""
        producer = self.producers.get(name)
        while producer is not None and producer.op_type in _MOVES:
            producer = self.producers.get(producer.input[0])
        return producer is not None and producer.op_type == "DequantizeLinear"

    def readers(self, node: NodeProto) -> list[NodeProto | None]:
        """What reads the node's output behind absorbed activation functions and reshapes; None for the network's."""
        found: list[NodeProto | None] = [None] if node.output[0] in self.outputs else []
        for user in self.users.get(node.output[0], []):
            found += self.readers(user) if user.op_type in _MOVES | _ABSORBED else [user]
        return found


def float_reason(op: str, is_float: bool, names: tuple[str, ...], source: Source) -> str:
    """Why the executed op of these names is not an integer op."""
    op = _FUSED.get(op, op)
    node = next((source.nodes[name] for name in names if name in source.nodes), None)
    reason = _reason_of_kind(op, is_float, source)
    if reason is not None:
        return reason
    if node is None:
        return "added by ONNX Runtime's optimizer"
    if _kind(node) not in _HAS_KERNEL:  # the optimizer wrote it as several simpler ops
        return f"ONNX Runtime has no integer {_kind(node)} kernel"
    return _product_reason(op, node, source) if op in _PRODUCTS else _placement_reason(op, node, source)


def _reason_of_kind(op: str, is_float: bool, source: Source) -> str | None:
    """The reason that holds for every op of a kind."""
    rules = (
        (op in _LAYOUT, "changes the memory layout for a float neighbour"),
        (not is_float, "shape arithmetic"),
        (not source.is_quantized, "the ONNX file is not quantized"),
        (op in _MOVES, "only moves values"),
        (op in _ABSORBED, f"ONNX Runtime has no integer {op} kernel; it absorbs one only between an op and its Q"),
        (op not in _HAS_KERNEL, f"ONNX Runtime has no integer {op} kernel"),
    )
    return next((reason for holds, reason in rules if holds), None)


def _kind(node: NodeProto) -> str:
    """The op, with what decides about its kernel."""
    mode = next((a.s.decode() for a in node.attribute if a.name == "mode" and node.op_type == "Resize"), "nearest")
    return node.op_type if mode == "nearest" else f"{mode} Resize"


def _product_reason(op: str, node: NodeProto, source: Source) -> str:
    readers = source.readers(node)
    if op == "Conv" and None in readers:
        return f"its output is the network's and stays float, and {NO_CONVOLUTION_WITH_FLOAT_OUTPUT}"
    if not source.is_dequantized(node.input[1]):
        if op != "MatMul" and not source.is_constant(node.input[1]):
            return "its weight is computed at run time"
        return "skipped: its weight is float in the ONNX file"
    if not source.is_dequantized(node.input[0]):
        return "its input is float in the ONNX file"
    if op == "Conv" and not any(reader is not None and reader.op_type == "QuantizeLinear" for reader in readers):
        return f"its output stays float, and {NO_CONVOLUTION_WITH_FLOAT_OUTPUT}"
    return "ONNX Runtime did not fuse its Q/DQ nodes"


def _placement_reason(op: str, node: NodeProto, source: Source) -> str:
    readers = source.readers(node)
    inputs = [name for name in node.input if name]
    inputs = inputs if op in ("Add", "Mul", "Concat") else inputs[:1]
    if None in readers:
        return "its output is the network's, which stays float"
    if any(source.is_constant(name) for name in inputs):
        return "one of its inputs is a constant, which stays float"
    dequantized = all(source.is_dequantized(name) for name in inputs)
    quantized = any(reader is not None and reader.op_type == "QuantizeLinear" for reader in readers)
    if dequantized and quantized:
        return "ONNX Runtime did not fuse its Q/DQ nodes"
    if dequantized:
        return "not quantized in the ONNX file: its output is read in float"
    if quantized:
        return "not quantized in the ONNX file: its input is float"
    return "not quantized in the ONNX file: its neighbours are float"
