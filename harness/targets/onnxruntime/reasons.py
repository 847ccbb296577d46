"""Why an op of a built ONNX Runtime graph runs in float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from harness.exporting.macs import WeightedLayer
from harness.exporting.onnx_index import MOVES, OnnxIndex, all_graphs

CONVERSIONS = {"QuantizeLinear", "DequantizeLinear"}
NO_CONVOLUTION_WITH_FLOAT_OUTPUT = "ONNX Runtime has no integer convolution with float output"

_LAYOUT = {"ReorderInput", "ReorderOutput"}
_SHAPES = {"Shape", "Size"}
_DYNAMIC_ONLY = {"LSTM"}
_POOLS = {"AveragePool", "GlobalAveragePool", "MaxPool"}
_HAS_KERNEL = {"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "Sigmoid", "LeakyRelu", "Softmax", "Resize"} | _POOLS
_ABSORBED = {"Relu", "Clip"}
_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul"}
_PRODUCTS = {"Conv", "Gemm", "MatMul"}
_ROUNDING = 1e-6
"""Relative; ranges are products of a scale in single precision."""


@dataclass(frozen=True)
class SourceModel:
    """The ONNX file that an engine was built from, for looking up what it asked for."""

    is_quantized: bool
    nodes: dict[str, NodeProto] = field(repr=False)
    """By their own names and those of their outputs."""
    index: OnnxIndex = field(repr=False)
    numbers: dict[str, TensorProto] = field(repr=False)
    """Constants of the file."""

    @classmethod
    def load(cls, path: Path) -> SourceModel:
        """Read the file."""
        model = onnx.load(path)
        index = OnnxIndex.of(model)
        return cls(
            is_quantized=any(node.op_type in CONVERSIONS for node in index.nodes),
            nodes={name: node for node in index.nodes for name in (node.name, *node.output) if name},
            index=index,
            numbers=dict(_constants(model, index)),
        )

    def is_constant(self, name: str) -> bool:
        """Whether the tensor is known before the network runs."""
        return name in self.index.constants

    def is_dequantized(self, name: str) -> bool:
        """Whether the tensor comes out of a DequantizeLinear, whatever was reshaped since."""
        return self.index.is_dequantized(name)

    def readers(self, node: NodeProto) -> list[NodeProto | None]:
        """What reads the node's output behind absorbed activation functions and reshapes; None for the network's."""
        found: list[NodeProto | None] = []
        waiting, seen = [node.output[0]], {node.output[0]}
        while waiting:
            name = waiting.pop()
            found += [None] if name in self.index.outputs else []
            for user in self.index.users.get(name, []):
                is_passing = user.op_type in MOVES | _ABSORBED and user.input[0] == name
                new = [output for output in user.output if output and output not in seen] if is_passing else []
                found += [] if is_passing else [user]
                waiting += new
                seen.update(new)
        return found

    def clip_of(self, node: NodeProto) -> tuple[float, float] | None:
        """The bounds of a Clip that alone reads the node's output and is read by a Q alone; None where none does."""
        readers = self.index.users.get(node.output[0], [])
        if len(readers) != 1 or readers[0].op_type != "Clip":
            return None
        return self.bounds(readers[0])

    def bounds(self, clip: NodeProto) -> tuple[float, float]:
        """Lower and upper bound, infinite where there is none; NaN for one that is computed."""
        low, high = (self._number(clip, index, default) for index, default in ((1, -np.inf), (2, np.inf)))
        return low, high

    def _number(self, node: NodeProto, index: int, default: float) -> float:
        if index >= len(node.input) or not node.input[index]:
            return next((a.f for a in node.attribute if a.name == ("min", "max")[index - 1]), default)
        value = self.array(node.input[index])
        return float("nan") if value is None else float(value.reshape(-1)[0])

    def array(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """The values of a constant of the file; None for other tensors."""
        tensor = self.numbers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def has_16_bits(self, node: NodeProto) -> bool:
        """Whether a QuantizeLinear or DequantizeLinear is one of 16-bit integers."""
        zero_point = self.array(node.input[2]) if len(node.input) > 2 else None
        return zero_point is not None and zero_point.dtype.itemsize == 2

    def reads_16_bits(self, node: NodeProto) -> bool:
        """Whether one of a node's inputs comes out of a DequantizeLinear of 16-bit integers, whatever was reshaped."""
        producers = [self.index.producers.get(self.index.origin(name)) for name in node.input]
        return any(
            producer is not None and producer.op_type == "DequantizeLinear" and self.has_16_bits(producer)
            for producer in producers
        )

    def quantized_range(self, node: NodeProto) -> tuple[float, float] | None:
        """The smallest and largest value that a QuantizeLinear can represent; None where its scale is computed."""
        scale = self.array(node.input[1])
        zero_point = self.array(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.uint8)
        if scale is None or zero_point is None or scale.size != 1 or zero_point.dtype.kind not in "iu":
            return None
        info = np.iinfo(zero_point.dtype)  # type: ignore[type-var]  # an integer type
        zero, step = int(zero_point.reshape(-1)[0]), float(scale.reshape(-1)[0])
        return (info.min - zero) * step, (info.max - zero) * step


def _constants(model: ModelProto, index: OnnxIndex) -> Iterable[tuple[str, TensorProto]]:
    for graph in all_graphs(model.graph):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in index.nodes:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            yield node.output[0], node.attribute[0].t


def float_reason(
    op: str, is_float: bool, names: tuple[str, ...], source: SourceModel, layer: WeightedLayer | None = None
) -> str:
    """Why the executed op of these names, which executes `layer` of the file, is not an integer op."""
    op = _FUSED.get(op, op)
    node = next((source.nodes[name] for name in names if name in source.nodes), None)
    reason = _reason_of_kind(op, is_float, source)
    if reason is not None:
        return reason
    if node is None:
        return "added by ONNX Runtime's optimizer"
    if op in _ABSORBED:
        return _activation_reason(node, source)
    if _kind(node) not in _HAS_KERNEL:  # the optimizer wrote it as several simpler ops
        return f"ONNX Runtime has no integer {_kind(node)} kernel"
    own = _product_reason(op, node, source, layer) if op in _PRODUCTS else _placement_reason(op, node, source)
    return own or _wide_reason(node, source) or "ONNX Runtime did not fuse its Q/DQ nodes"


def _reason_of_kind(op: str, is_float: bool, source: SourceModel) -> str | None:
    """The reason that holds for every op of a kind."""
    rules = (
        (op in _LAYOUT, "changes the memory layout for a float neighbour"),
        (not is_float or op in _SHAPES, "shape arithmetic"),
        (not source.is_quantized, "the ONNX file is not quantized"),
        (op in MOVES, "only moves values"),
        (op in _DYNAMIC_ONLY, f"ONNX Runtime has an integer {op} for dynamic quantization only"),
        (op not in _HAS_KERNEL | _ABSORBED, f"ONNX Runtime has no integer {op} kernel"),
    )
    return next((reason for holds, reason in rules if holds), None)


def _kind(node: NodeProto) -> str:
    """The op, with what decides about its kernel."""
    mode = next((a.s.decode() for a in node.attribute if a.name == "mode" and node.op_type == "Resize"), "nearest")
    return node.op_type if mode == "nearest" else f"{mode} Resize"


def _wide_reason(node: NodeProto, source: SourceModel) -> str | None:
    """Why a node whose inputs and output are quantized is a float op: 16 bits on either side."""
    quantizing = [reader for reader in source.readers(node) if reader is not None]
    sides = [("reads", source.reads_16_bits(node)), ("writes", any(map(source.has_16_bits, quantizing)))]
    words = " and ".join(word for word, is_wide in sides if is_wide)
    return f"it {words} 16-bit integers, and ONNX Runtime has integer kernels for 8 bits only" if words else None


def _activation_reason(node: NodeProto, source: SourceModel) -> str:
    if node.op_type not in _ABSORBED:
        return f"ONNX Runtime has no integer {node.op_type} kernel"
    name = _clip_name(source.bounds(node)) if node.op_type == "Clip" else "Relu"
    if node.op_type == "Clip" and source.bounds(node)[0] != 0:
        return f"ONNX Runtime has no integer Clip kernel, and {name} is not a ReLU that an op before it could absorb"
    return f"ONNX Runtime has no integer {node.op_type} kernel; it absorbs one only between an op and its Q"


def _clip_name(bounds: tuple[float, float]) -> str:
    return f"Clip({bounds[0]:g}, {bounds[1]:g})"


def _product_reason(op: str, node: NodeProto, source: SourceModel, layer: WeightedLayer | None) -> str | None:
    readers = source.readers(node)
    if op == "Conv" and None in readers:
        return f"its output is the network's and is not quantized, and {NO_CONVOLUTION_WITH_FLOAT_OUTPUT}"
    floats = None if layer is None else layer.float_factors()
    if floats is not None:
        return floats
    quantizing = [reader for reader in readers if reader is not None and reader.op_type == "QuantizeLinear"]
    if op == "Conv" and not quantizing:
        return f"its output is not quantized, and {NO_CONVOLUTION_WITH_FLOAT_OUTPUT}"
    return _narrow_clip(node, quantizing, source)


def _narrow_clip(node: NodeProto, quantizing: list[NodeProto], source: SourceModel) -> str | None:
    """Why a Clip between the node and its Q cannot be left to the Q: values between its bounds and the Q's range."""
    bounds = source.clip_of(node)
    if bounds is None:
        return None
    for reader in quantizing:
        limits = source.quantized_range(reader)
        if limits is not None and (
            limits[0] < bounds[0] - _slack(bounds[0]) or limits[1] > bounds[1] + _slack(bounds[1])
        ):
            shown = f"{limits[0]:.6g} to {limits[1]:.6g}"
            return f"{_clip_name(bounds)} behind it is narrower than the range of its Q, {shown}, and stays a float op"
    return None


def _slack(bound: float) -> float:
    return _ROUNDING * abs(bound) if np.isfinite(bound) else 0.0


def _placement_reason(op: str, node: NodeProto, source: SourceModel) -> str | None:
    readers = source.readers(node)
    inputs = [name for name in node.input if name]
    inputs = inputs if op in ("Add", "Mul", "Concat") else inputs[:1]
    if None in readers:
        return "its output is the network's, which is not quantized"
    if any(source.is_constant(name) for name in inputs):
        return "one of its inputs is a constant, which is not quantized"
    dequantized = [source.is_dequantized(name) for name in inputs]
    quantized = any(reader is not None and reader.op_type == "QuantizeLinear" for reader in readers)
    if all(dequantized) and quantized:
        return None
    return f"not quantized in the ONNX file: {_float_neighbours(dequantized, quantized)}"


def _float_neighbours(dequantized: list[bool], quantized: bool) -> str:
    if all(dequantized):
        return "its output is read in float"
    its_input = "one of its inputs is float" if any(dequantized) else "its input is float"
    if quantized:
        return its_input
    return f"{its_input}, and its output is read in float" if any(dequantized) else "its neighbours are float"
