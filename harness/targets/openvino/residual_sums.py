"""Q/DQ where OpenVINO needs it to fuse a residual sum into the convolution before it.

OpenVINO fuses convolution, sum, ReLU and the next Q into one integer kernel only where both summands come out of a
DequantizeLinear. It does not round the convolution's summand then: the kernel adds its accumulators to the other
summand and rounds the sum. So the network that is quantized, trained and judged has no quantizer there, and the file
gets one when the engine is built, with a range that clips nothing that the sum's own Q would keep: both compute the
same.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from harness.targets.onnxruntime.reasons import SourceModel

_LEVELS = 255
_SPARE = 2
"""Steps of the range that are not needed, so that rounding of its ends cuts nothing off."""


def with_fusable_sums(onnx_path: Path) -> ModelProto | None:
    """The network with Q/DQ on every convolution's summand; None when there is no such sum."""
    source, model = SourceModel.load(onnx_path), onnx.load(onnx_path)
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    changed = False
    for add in [node for node in model.graph.node if node.op_type == "Add"]:
        for place, name in enumerate(add.input):
            other = source.index.producers.get(add.input[1 - place])
            if name not in convolutions or other is None or other.op_type != "DequantizeLinear":
                continue
            needed = _needed_range(add, other, source)
            if needed is None or len(source.index.users[name]) > 1:
                continue
            _insert(model, add, place, *needed)
            changed = True
    return model if changed else None


def _needed_range(add: NodeProto, other: NodeProto, source: SourceModel) -> tuple[float, float] | None:
    """What of a summand can change the quantized sum; None where something reads the sum in float."""
    summand = source.quantized_range(other)
    readers = source.index.users.get(add.output[0], [])
    low, high = -math.inf, math.inf
    if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
        low, high = (0.0, math.inf) if readers[0].op_type == "Relu" else source.bounds(readers[0])
        readers = source.index.users.get(readers[0].output[0], [])
    if not readers or any(reader.op_type != "QuantizeLinear" for reader in readers):
        return None
    kept = [source.quantized_range(reader) for reader in readers]
    if any(map(source.has_16_bits, (other, *readers))):  # nothing is fused there, and 8 bits would round more
        return None
    if summand is None or None in kept or math.isnan(low) or math.isnan(high):
        return None
    ranges = [each for each in kept if each is not None]
    lowest = max(low, min(least for least, _ in ranges))
    highest = min(high, max(most for _, most in ranges))
    needed = min(0.0, lowest - summand[1]), max(0.0, highest - summand[0])
    return needed if needed[0] < needed[1] else None


def _insert(model: ModelProto, add: NodeProto, place: int, low: float, high: float) -> None:
    name = add.input[place]
    step = (high - low) / (_LEVELS - _SPARE)
    zero = math.ceil(-low / step)
    scale, zero_point, integers, floats = (f"{name}/sum_{end}" for end in ("scale", "zero_point", "integers", "floats"))
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.asarray(step, np.float32), scale),
            numpy_helper.from_array(np.asarray(zero, np.uint8), zero_point),
        ]
    )
    nodes = [
        helper.make_node("QuantizeLinear", [name, scale, zero_point], [integers], name=integers),
        helper.make_node("DequantizeLinear", [integers, scale, zero_point], [floats], name=floats),
    ]
    position = list(model.graph.node).index(add)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(position + offset, node)
    add.input[place] = floats
