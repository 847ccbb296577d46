"""Small ONNX files, written node by node, so that a test can damage exactly one thing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 32
INPUT_SHAPE = (CHANNELS, 16, 16)


def qdq_network(
    path: Path,
    *,
    activation_type: type = np.int8,
    zero_point: int = 0,
    scale: float = 0.02,
    weight_axis: int = 0,
    weight_scale: float | Sequence[float] = 0.003,
    batch: str | int = "batch",
    named: bool = True,
) -> Path:
    """input → Q/DQ → conv1 → Relu → Q/DQ → conv2 → output, weights quantized per channel."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    tensor = "input"
    for index in (1, 2):
        conv = f"conv{index}"
        constants += [
            numpy_helper.from_array(np.float32(scale), f"{conv}.scale"),
            numpy_helper.from_array(activation_type(zero_point), f"{conv}.zero_point"),
            *_weight(conv, weight_scale, index),
        ]
        activation = [f"{conv}.scale", f"{conv}.zero_point"]
        weight = [f"{conv}.weight", f"{conv}.weight_scale", f"{conv}.weight_zero_point"]
        nodes += [
            helper.make_node("QuantizeLinear", [tensor, *activation], [f"{conv}.q"], name=f"{conv}/Quantize"),
            helper.make_node("DequantizeLinear", [f"{conv}.q", *activation], [f"{conv}.dq"], name=f"{conv}/Dequantize"),
            helper.make_node("DequantizeLinear", weight, [f"{conv}.w"], name=f"{conv}/Weight", axis=weight_axis),
            helper.make_node("Conv", [f"{conv}.dq", f"{conv}.w"], [f"{conv}.out"], name=conv, pads=[1] * 4),
            helper.make_node("Relu", [f"{conv}.out"], [f"{conv}.relu"], name=f"{conv}/Relu"),
        ]
        tensor = f"{conv}.relu"
    nodes[-1].output[0] = "output"
    return save(path, nodes, constants, batch=batch, named=named)


def float_network(path: Path, *, scale: float = 0.1, batch: str | int = "batch", named: bool = True) -> Path:
    """input → conv1 → Relu → conv2 → output, in FP32; `scale` is the weights' standard deviation."""
    constants = [
        numpy_helper.from_array((scale * _random(index)).astype(np.float32), f"conv{index}.weight") for index in (1, 2)
    ]
    nodes = [
        helper.make_node("Conv", ["input", "conv1.weight"], ["conv1.out"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["conv1.out"], ["conv1.relu"], name="conv1/Relu"),
        helper.make_node("Conv", ["conv1.relu", "conv2.weight"], ["output"], name="conv2", pads=[1] * 4),
    ]
    return save(path, nodes, constants, batch=batch, named=named)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    *,
    batch: str | int = "batch",
    named: bool = True,
    opset: int = 21,
    **graph: Any,
) -> Path:
    """A model of these nodes with the input `input` and the output `output`."""
    if not named:
        for node in nodes:
            node.ClearField("name")
    shape = [batch, *INPUT_SHAPE]
    inputs = graph.get("inputs") or [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)]
    made = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset), *graph.get("opsets", [])]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), path)
    return path


def _weight(conv: str, scale: float | Sequence[float], seed: int) -> list[onnx.TensorProto]:
    scales = np.broadcast_to(np.float32(scale), (CHANNELS,)).astype(np.float32)
    integers = np.clip(np.rint(40 * _random(seed)), -127, 127).astype(np.int8)
    return [
        numpy_helper.from_array(integers, f"{conv}.weight"),
        numpy_helper.from_array(scales, f"{conv}.weight_scale"),
        numpy_helper.from_array(np.zeros(CHANNELS, np.int8), f"{conv}.weight_zero_point"),
    ]


def _random(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((CHANNELS, CHANNELS, 3, 3))
