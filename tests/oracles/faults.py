"""ONNX graphs with exactly one wrong scale."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

TEN_PERCENT = 1.1


def weight_scales(model: ModelProto) -> dict[str, int]:
    """How many scales the weight of each layer has, by the layer's name."""
    suffix = ".weight_scale"
    return {
        tensor.name.removesuffix(suffix): int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.name.endswith(suffix)
    }


def with_wrong_weight_scale(model: ModelProto, layer: str, channel: int = 0, factor: float = TEN_PERCENT) -> ModelProto:
    """A copy in which one scale of one layer's weight is wrong; the channel does not count for a scale per tensor."""
    return _with_wrong(model, f"{layer}.weight_scale", channel, factor)


def with_wrong_activation_scale(model: ModelProto, tensor: str, factor: float = TEN_PERCENT) -> ModelProto:
    """A copy in which the scale of one activation, known by its quantized tensor, is wrong for all that use it."""
    (node,) = [node for node in model.graph.node if tensor in node.output]
    return _with_wrong(model, node.input[1], 0, factor)


def _with_wrong(model: ModelProto, name: str, channel: int, factor: float) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    (scale,) = [tensor for tensor in copy.graph.initializer if tensor.name == name]
    scale.CopyFrom(_scaled(scale, channel, factor))
    return copy


def _scaled(scale: TensorProto, channel: int, factor: float) -> TensorProto:
    array = numpy_helper.to_array(scale).copy()
    array.reshape(-1)[channel if array.ndim else 0] *= factor
    return numpy_helper.from_array(array, scale.name)
