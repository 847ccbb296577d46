"""Layers with weights in a captured or prepared graph, and the mean and variance of what leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph_tensors import add_tensor, attribute
from harness.quantization.capture.operators import CONVOLUTIONS, LINEAR
from harness.quantization.tensor_quantizer import WeightQuantizer

LAYERS = CONVOLUTIONS | LINEAR
_BIAS = 2
"""Position of the bias among the arguments of every layer; 1 is the weight, 0 the input."""


def layer_nodes(graph_module: GraphModule) -> list[Node]:
    """Convolutions and linear layers whose weight is a parameter of the network, in execution order."""
    nodes = [node for node in graph_module.graph.nodes if node.target in LAYERS]
    return [node for node in nodes if _weight_source(node) is not None]


def quantized_layers(prepared: GraphModule) -> list[Node]:
    """Those whose weight is quantized, in execution order."""
    modules = dict(prepared.named_modules())
    return [node for node in layer_nodes(prepared) if isinstance(modules.get(_weight_module(node)), WeightQuantizer)]


def weight_of(graph_module: GraphModule, layer: Node) -> torch.Tensor:
    """The layer's float weight; a parameter, or a buffer where the network does not train it."""
    return attribute(graph_module, weight_path(layer))


def weight_path(layer: Node) -> str:
    """Dotted name of the layer's float weight."""
    source = _weight_source(layer)
    assert source is not None
    return str(source.target)


def bias_of(graph_module: GraphModule, layer: Node) -> torch.Tensor | None:
    """The layer's bias; None where it has none that the network holds."""
    bias = _bias_node(layer)
    return attribute(graph_module, str(bias.target)) if bias is not None and bias.op == "get_attr" else None


def shares_weights(graph_module: GraphModule, layer: Node) -> bool:
    """Whether another call reads the layer's weight or bias too; a change for one would be a change for both."""
    source = _weight_source(layer)
    held = [node for node in (source, _bias_node(layer)) if node is not None]
    paths = {str(node.target) for node in held if node.op == "get_attr"}
    readers = {
        reader
        for node in graph_module.graph.nodes
        if node.op == "get_attr" and node.target in paths
        for reader in _past_quantizers(graph_module, node)
    }
    return readers != {layer} or any(node.op != "get_attr" for node in held)


def _past_quantizers(graph_module: GraphModule, tensor: Node) -> Iterator[Node]:
    for user in tensor.users:
        is_quantizer = user.op == "call_module" and isinstance(
            graph_module.get_submodule(str(user.target)), WeightQuantizer
        )
        yield from user.users if is_quantizer else (user,)


def weight_quantizer_of(prepared: GraphModule, layer: Node) -> WeightQuantizer:
    """The quantizer of a layer's weight."""
    quantizer = prepared.get_submodule(_weight_module(layer))
    assert isinstance(quantizer, WeightQuantizer)
    return quantizer


class ConvolutionArguments(NamedTuple):
    """How a convolution over two dimensions walks over its input."""

    stride: tuple[int, int]
    padding: tuple[tuple[int, int], ...]
    """Above and below, left and right."""
    dilation: tuple[int, int]
    groups: int


def convolution_arguments(layer: Node, weight: torch.Tensor) -> ConvolutionArguments | None:
    """Of a convolution over two dimensions; None for any other layer."""
    if layer.target not in (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding):
        return None
    given = (*layer.args[3:], *(None,) * (4 - len(layer.args[3:])))
    stride, dilation = (_pair(given[index], 1) for index in (0, 2))
    if isinstance(given[1], str):
        padding = _named_padding(given[1], weight, dilation)
    else:
        padding = tuple((amount, amount) for amount in _pair(given[1], 0))
    groups = given[3] if given[3] is not None else 1
    assert isinstance(groups, int)
    return ConvolutionArguments(stride, padding, dilation, groups)


def _named_padding(name: str, weight: torch.Tensor, dilation: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """`valid` is none; `same` keeps the size, the odd row or column going below and to the right."""
    sizes = zip(dilation, weight.shape[2:], strict=True)
    amounts = [0 if name == "valid" else step * (size - 1) for step, size in sizes]
    return tuple((amount // 2, amount - amount // 2) for amount in amounts)


def _pair(value: Any, default: int) -> tuple[int, int]:
    numbers = [default] if value is None else list(value)
    return (numbers[0], numbers[-1])


def channel_axis(layer: Node) -> int:
    """Axis of the output channels in what leaves the layer."""
    return -1 if layer.target in LINEAR else 1


def add_missing_biases(captured: GraphModule) -> None:
    """Give every layer a bias that it alone reads, in place: zeros to those without, copies of shared ones."""
    for layer in layer_nodes(captured):
        bias = _bias_node(layer)
        if bias is not None and (bias.op != "get_attr" or len(bias.users) == 1):
            continue
        weight = weight_of(captured, layer)
        values = torch.zeros(weight.shape[0]) if bias is None else attribute(captured, str(bias.target))
        path = f"{weight_path(layer)}_bias" if bias is None else str(bias.target)
        own = add_tensor(captured, path, values, layer, trains=True)
        layer.args = (*layer.args[:_BIAS], own, *layer.args[_BIAS + 1 :])
    captured.recompile()


@dataclass
class Moments:
    """Mean and variance per output channel; equal for every split of the samples into batches, up to rounding."""

    n: int = 0
    total: torch.Tensor | float = 0.0
    total_of_squares: torch.Tensor | float = 0.0

    def update(self, layer: Node, output: torch.Tensor) -> None:
        """Add the outputs of one batch."""
        rows = output.movedim(channel_axis(layer), -1).flatten(0, -2).double()
        self.n += len(rows)
        self.total = self.total + rows.sum(0)
        self.total_of_squares = self.total_of_squares + rows.square().sum(0)

    @property
    def mean(self) -> torch.Tensor:
        """Shape (channels,), float64."""
        return torch.as_tensor(self.total) / self.n

    @property
    def std(self) -> torch.Tensor:
        """Shape (channels,), float64; of the samples, not of the population."""
        variance = torch.as_tensor(self.total_of_squares) / self.n - self.mean.square()
        return variance.clamp_min(0.0).sqrt()


def _weight_module(layer: Node) -> str:
    """Path of the module that the layer's weight comes through, or of the weight itself."""
    weight = layer.args[1]
    assert isinstance(weight, Node)
    return str(weight.target)


def _weight_source(layer: Node) -> Node | None:
    """The get_attr node of the weight, looked up through its quantizer."""
    weight = layer.args[1]
    if isinstance(weight, Node) and weight.op == "call_module" and isinstance(weight.args[0], Node):
        weight = weight.args[0]
    return weight if isinstance(weight, Node) and weight.op == "get_attr" else None


def _bias_node(layer: Node) -> Node | None:
    bias = layer.args[_BIAS] if len(layer.args) > _BIAS else None
    return bias if isinstance(bias, Node) else None
