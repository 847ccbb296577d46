"""Layers with weights in a captured or prepared graph, and the mean and variance of what leaves them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from harness.quantization.operators import CONVOLUTIONS, LINEAR
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


def weight_of(graph_module: GraphModule, layer: Node) -> torch.nn.Parameter:
    """The layer's float weight."""
    return graph_module.get_parameter(weight_path(layer))


def weight_path(layer: Node) -> str:
    """Dotted name of the layer's float weight."""
    source = _weight_source(layer)
    assert source is not None
    return str(source.target)


def bias_of(graph_module: GraphModule, layer: Node) -> torch.nn.Parameter | None:
    """The layer's bias, or None."""
    bias = layer.args[_BIAS] if len(layer.args) > _BIAS else None
    return _parameter(graph_module, bias) if isinstance(bias, Node) else None


def readers(graph_module: GraphModule, layer: Node) -> int:
    """How many calls read the layer's weight; more than one when layers share it."""
    path = weight_path(layer)
    same = [node for node in graph_module.graph.nodes if node.op == "get_attr" and node.target == path]
    return sum(len(node.users) for node in same)


def channel_axis(layer: Node) -> int:
    """Axis of the output channels in what leaves the layer."""
    return -1 if layer.target in LINEAR else 1


def add_missing_biases(captured: GraphModule) -> None:
    """Give every layer without a bias one of zeros, in place."""
    for layer in layer_nodes(captured):
        if bias_of(captured, layer) is not None:
            continue
        owner, _, name = weight_path(layer).rpartition(".")
        module = captured.get_submodule(owner)
        while hasattr(module, name := f"{name}_bias"):
            pass
        zeros = torch.zeros(weight_of(captured, layer).shape[0])
        module.register_parameter(name, torch.nn.Parameter(zeros))
        with captured.graph.inserting_before(layer):
            bias = captured.graph.get_attr(f"{owner}.{name}" if owner else name)
        layer.args = (*layer.args[:_BIAS], bias, *layer.args[_BIAS + 1 :])
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
        """Shape (channels,), float64; of the samples, not of a population that they stand for."""
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


def _parameter(graph_module: GraphModule, node: Node) -> torch.nn.Parameter:
    return graph_module.get_parameter(str(node.target))
