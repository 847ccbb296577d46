"""Faults that a step may have, planted in what it made: weights, scales, operators, constants of a file or a graph."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from torch.fx import GraphModule

from harness.quantization.prepared import activation_quantizers

aten = torch.ops.aten
GraphFault = Callable[[GraphModule], None]
FileFault = Callable[[ModelProto], None]
_SWAPPED = {
    aten.relu.default: aten.neg.default,
    aten.relu_.default: aten.neg.default,
    aten.relu6.default: aten.neg.default,
    aten.gelu.default: aten.relu.default,
    aten.silu.default: aten.relu.default,
    aten.hardtanh.default: aten.neg.default,
    aten.hardtanh_.default: aten.neg.default,
    aten.tanh.default: aten.sigmoid.default,
}


def _weights(graph: GraphModule) -> list[torch.nn.Parameter]:
    return [parameter for parameter in graph.parameters() if parameter.ndim > 1]


def wrong_fold(graph: GraphModule) -> None:
    """One output channel of the first layer has the factor of another batch norm."""
    with torch.no_grad():
        _weights(graph)[0][0] *= 1.1


def lost_bias(graph: GraphModule) -> None:
    """The largest bias is not written."""
    with torch.no_grad():
        biases = [parameter for parameter in graph.parameters() if parameter.ndim == 1]
        max(biases, key=lambda bias: float(bias.abs().max())).zero_()


def truncated_weights(graph: GraphModule) -> None:
    """The second half of the last layer's weight is missing."""
    with torch.no_grad():
        weight = _weights(graph)[-1]
        weight.view(-1)[weight.numel() // 2 :] = 0.0


def swapped_operator(graph: GraphModule) -> None:
    """The first activation function is another one."""
    node = next(node for node in graph.graph.nodes if node.target in _SWAPPED)
    node.target, node.args, node.kwargs = _SWAPPED[node.target], node.args[:1], {}
    graph.recompile()


GRAPH_FAULTS: dict[str, GraphFault] = {
    "wrong fold": wrong_fold,
    "lost bias": lost_bias,
    "truncated weights": truncated_weights,
    "swapped operator": swapped_operator,
}


def wrong_activation_scale(graph: GraphModule) -> None:
    """One activation has a scale 10 % too large."""
    quantizer = activation_quantizers(graph)[-1]
    with torch.no_grad():
        quantizer.scale.mul_(1.1)


def wrong_zero_point(graph: GraphModule) -> None:
    """One activation has a zero point that is one too large."""
    activation_quantizers(graph)[-1].zero_point.add_(1)


def wrong_weight_scale(graph: GraphModule) -> None:
    """One weight is 10 % too large in one channel, before it is quantized."""
    with torch.no_grad():
        trained = [parameter for parameter in graph.parameters() if parameter.ndim > 1]
        trained[-1][0] *= 1.1


def stale_weight(graph: GraphModule) -> None:
    """A weight from before the training."""
    with torch.no_grad():
        weight = [parameter for parameter in graph.parameters() if parameter.ndim > 1][-1]
        weight.mul_(0.5)


QUANTIZED_FAULTS: dict[str, GraphFault] = {
    "wrong weight scale": wrong_weight_scale,
    "wrong activation scale": wrong_activation_scale,
    "wrong zero point": wrong_zero_point,
    "stale weight": stale_weight,
    "lost bias": lost_bias,
}


def mutated(graph: GraphModule, fault: GraphFault) -> GraphModule:
    """A copy with the fault."""
    changed = copy.deepcopy(graph)
    fault(changed)
    return changed


def _matrices(model: ModelProto, types: tuple[int, ...]) -> list[TensorProto]:
    return [tensor for tensor in model.graph.initializer if tensor.data_type in types and len(tensor.dims) > 1]


def _store(tensor: TensorProto, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(array.astype(numpy_helper.to_array(tensor).dtype), tensor.name))


def file_truncated(model: ModelProto) -> None:
    """The second half of the last weight is missing, integers too."""
    tensor = _matrices(model, (TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8))[-1]
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[array.size // 2 :] = 0
    _store(tensor, array)


def file_wrong_scale(model: ModelProto) -> None:
    """One scale, or one channel of a float weight, is 10 % too large."""
    scales = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight_scale")]
    tensor = scales[0] if scales else _matrices(model, (TensorProto.FLOAT,))[0]
    array = numpy_helper.to_array(tensor).copy()
    array[0] *= 1.1
    _store(tensor, array)


def file_wrong_activation_scale(model: ModelProto) -> None:
    """The scale of one activation is 10 % too large."""
    node = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][-1]
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == node.input[1]]
    _store(tensor, numpy_helper.to_array(tensor) * 1.1)


def file_swapped(model: ModelProto) -> None:
    """The first activation function, or norm, is another operator."""
    swaps = {"Relu": "Neg", "Clip": "Neg", "Gelu": "Relu", "Tanh": "Sigmoid", "Sigmoid": "Tanh", "Softmax": "Identity"}
    swaps |= {"LeakyRelu": "Neg", "Erf": "Tanh"}
    node = next(node for node in model.graph.node if node.op_type in swaps)
    node.op_type = swaps[node.op_type]
    del node.input[1:], node.attribute[:]


def file_fixed_batch(model: ModelProto) -> None:
    """The file takes one sample at a time."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]


def file_scaled_down(model: ModelProto) -> None:
    """A whole weight, or its scale, is half of what it should be."""
    scales = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight_scale")]
    tensor = scales[0] if scales else _matrices(model, (TensorProto.FLOAT,))[0]
    _store(tensor, numpy_helper.to_array(tensor) * 0.5)


FILE_FAULTS: dict[str, FileFault] = {
    "wrong scale": file_wrong_scale,
    "truncated weights": file_truncated,
    "swapped operator": file_swapped,
    "fixed batch": file_fixed_batch,
}
QDQ_FAULTS: dict[str, FileFault] = {
    "wrong weight scale": file_wrong_scale,
    "wrong activation scale": file_wrong_activation_scale,
    "truncated weights": file_truncated,
    "swapped operator": file_swapped,
    "fixed batch": file_fixed_batch,
}
ENGINE_FAULTS: dict[str, FileFault] = {
    "half of a weight": file_scaled_down,
    "truncated weights": file_truncated,
    "swapped operator": file_swapped,
    "fixed batch": file_fixed_batch,
}
"""Planted into the file that the engine is built from, behind the back of the check."""
