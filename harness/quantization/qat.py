"""The graph that QAT trains, and back from it to the prepared graph that is exported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch.fx import GraphModule, Node

from harness.quantization.batch_norm import BATCH_NORMS, BatchNorm, BatchNormLayer, attribute
from harness.quantization.fake_quantize import Clip
from harness.quantization.prepared import activation_quantizers, quantized_weights, tensor_quantizers, weight_quantizers
from harness.quantization.tensor_quantizer import TensorQuantizer, WeightQuantizer

BatchNormMode = Literal["folded", "frozen", "live"]
BeforeStep = Callable[[int, int], None]
"""Called before every step with steps done and steps in all."""

aten = torch.ops.aten
_RELU = Clip(low=0.0)
_RELU6 = Clip(low=0.0, high=6.0)


class Freezing(NamedTuple):
    """Shares of all steps after which something no longer moves; 0: it never does, 1: to the end."""

    batch_norm_after: float = 1.0
    """Statistics of `live` batch norm."""
    observers_after: float = 0.0
    """Activation ranges that follow the batches."""


def training_graph(
    prepared: GraphModule, *, batch_norm: BatchNormMode = "folded", learn_ranges: bool = False, observe: bool = False
) -> GraphModule:
    """A copy of a quantized network to train; `settle` brings its result back.

    It computes the same function in fewer passes: ReLU and ReLU6 become the clip of the quantizer behind them.
    """
    graph_module = copy.deepcopy(prepared)
    if batch_norm != "folded":
        _unfold(graph_module, live=batch_norm == "live")
    _fit_weights(graph_module)
    for quantizer in tensor_quantizers(graph_module):
        asked = quantizer.range_rule.learn
        if learn_ranges if asked is None else asked:
            quantizer.learn()
    _fuse_activations(graph_module)
    if observe:
        for activation in activation_quantizers(graph_module):
            activation.observe()
    return graph_module


def settle(trained: GraphModule, prepared: GraphModule) -> None:
    """Write what was trained into the graph that `training_graph` was made from, batch norm folded."""
    with torch.no_grad():
        results = {quantizer.name: quantizer for quantizer in tensor_quantizers(trained)}
        for quantizer in activation_quantizers(prepared):
            scale, zero_point = results[quantizer.name].calculate_qparams()
            quantizer.scale.copy_(scale)
            quantizer.zero_point.copy_(zero_point)
        for weight_quantizer in weight_quantizers(prepared):
            if results[weight_quantizer.name].learned:
                weight_quantizer.set_learned(results[weight_quantizer.name].calculate_qparams()[0])
        for weight_path, bias_path, layer in _layers(trained):
            weight, bias = layer.folded()
            attribute(prepared, weight_path).copy_(weight)
            attribute(prepared, bias_path).copy_(bias)
        for path in {str(node.target) for node in trained.graph.nodes if node.op == "get_attr"}:
            attribute(prepared, path).copy_(attribute(trained, path))


def freezing_schedule(trained: GraphModule, freezing: Freezing) -> BeforeStep:
    """What switches batch norm statistics and observed ranges off when their share of the steps is over."""
    layers = [layer for _, _, layer in _layers(trained) if layer.live]
    observers = [quantizer for quantizer in activation_quantizers(trained) if quantizer.mode == "observe"]

    def before_step(done: int, total: int) -> None:
        for layer in layers:
            layer.live = done < freezing.batch_norm_after * total
        for quantizer in observers:
            quantizer.mode = "observe" if done < freezing.observers_after * total else "quantize"

    return before_step


def _fit_weights(graph_module: GraphModule) -> None:
    """Scales in their final shape, so that checkpoints fit and learning starts at them."""
    with torch.no_grad():
        for quantizer, weight in quantized_weights(graph_module):
            quantizer.fit(weight)
        for _, _, layer in _layers(graph_module):
            if isinstance(layer.quantizer, WeightQuantizer):
                layer.quantizer.fit(layer.folded()[0])


def _layers(graph_module: GraphModule) -> list[tuple[str, str, BatchNormLayer]]:
    """Paths of folded weight and bias, and the layer that stands for them."""
    paths: dict[str, tuple[str, str]] = graph_module.meta.get(_UNFOLDED, {})
    modules = dict(graph_module.named_modules())
    layers = [(weight, bias, modules[name]) for name, (weight, bias) in paths.items()]
    return [(weight, bias, layer) for weight, bias, layer in layers if isinstance(layer, BatchNormLayer)]


_UNFOLDED = "harness_unfolded"


def _unfold(graph_module: GraphModule, *, live: bool) -> None:
    """Replace every layer that a batch norm was folded into by a `BatchNormLayer`."""
    batch_norms: dict[str, BatchNorm] = graph_module.meta.get(BATCH_NORMS, {})
    modules = dict(graph_module.named_modules())
    graph, paths = graph_module.graph, dict[str, tuple[str, str]]()
    for node in list(graph.nodes):
        weight, bias = _folded_arguments(node)
        quantizer = modules.get(str(weight.target)) if weight is not None and weight.op == "call_module" else None
        source = weight.args[0] if weight is not None and isinstance(quantizer, WeightQuantizer) else weight
        if not isinstance(source, Node) or bias is None or str(source.target) not in batch_norms:
            continue
        weight_path, bias_path = str(source.target), str(bias.target)
        layer = BatchNormLayer(
            node.target,
            node.args[3:],
            node.kwargs,
            attribute(graph_module, weight_path).detach(),
            attribute(graph_module, bias_path).detach(),
            quantizer or torch.nn.Identity(),
            batch_norms[weight_path],
        )
        layer.live = live
        name = f"batch_norm_layer_{len(paths)}"
        graph_module.add_submodule(name, layer)
        paths[name] = weight_path, bias_path
        with graph.inserting_before(node):
            new = graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(new)
        _erase(graph_module, node)
    graph_module.meta[_UNFOLDED] = paths
    graph_module.recompile()


def _folded_arguments(node: Node) -> tuple[Node | None, Node | None]:
    """Weight and bias of a layer that batch norm was folded into, if `node` may be one."""
    if node.op != "call_function" or len(node.args) < 3:
        return None, None
    weight, bias = node.args[1:3]
    if not isinstance(weight, Node) or not isinstance(bias, Node) or bias.op != "get_attr":
        return None, None
    return weight, bias


def _erase(graph_module: GraphModule, node: Node) -> None:
    """Remove a node and what only it reads, parameters included: they must not be trained or saved."""
    inputs = [argument for argument in node.args[1:3] if isinstance(argument, Node)]
    graph_module.graph.erase_node(node)
    while inputs:
        unread = inputs.pop()
        if unread.users:
            continue
        inputs += unread.all_input_nodes
        if unread.op == "get_attr":
            owner, _, name = str(unread.target).rpartition(".")
            delattr(graph_module.get_submodule(owner), name)
        graph_module.graph.erase_node(unread)


def _fuse_activations(graph_module: GraphModule) -> None:
    """Make each ReLU whose only reader is a quantizer the clip of that quantizer, which saves its passes."""
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        clip, users = _clip_of(node), list(node.users)
        if clip is None or len(users) != 1 or users[0].op != "call_module":
            continue
        quantizer = modules[str(users[0].target)]
        if not isinstance(quantizer, TensorQuantizer) or len(_callers(graph_module, users[0])) != 1:
            continue
        if quantizer.learned and clip != _RELU:  # the gradient of a learned scale knows no upper clip
            continue
        quantizer.clip = clip
        node.replace_all_uses_with(node.args[0])
        graph_module.graph.erase_node(node)
    graph_module.recompile()


def _callers(graph_module: GraphModule, call: Node) -> list[Node]:
    return [node for node in graph_module.graph.nodes if node.op == "call_module" and node.target == call.target]


def _clip_of(node: Node) -> Clip | None:
    """What an activation function clips to; None for other nodes."""
    if node.target in (aten.relu.default, aten.relu_.default):
        return _RELU
    if node.target is aten.relu6.default or (
        node.target in (aten.hardtanh.default, aten.hardtanh_.default) and tuple(node.args[1:]) == (0.0, 6.0)
    ):
        return _RELU6
    return None
