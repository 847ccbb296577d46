"""The graph that QAT trains, and back from it to the prepared graph that is exported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BatchNormLayer
from harness.quantization.capture.graph_tensors import attribute, read_paths
from harness.quantization.fake_quantize import Clip
from harness.quantization.prepared import activation_quantizers, quantized_weights, tensor_quantizers, weight_quantizers
from harness.quantization.qat.unfold import batch_norm_modules, fold_back, unfold
from harness.quantization.tensor_quantizer import TensorQuantizer, WeightQuantizer
from harness.results import BatchNormMode

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
    """A copy of a quantized network to train; `write_back` brings its result back.

    It computes the same function in fewer passes: ReLU and ReLU6 become the clip of the quantizer behind them.
    """
    graph_module = copy.deepcopy(prepared)
    if batch_norm != "folded":
        unfold(graph_module, live=batch_norm == "live")
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


def write_back(trained: GraphModule, prepared: GraphModule) -> None:
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
        fold_back(trained, prepared)
        for path in read_paths(trained):
            attribute(prepared, path).copy_(attribute(trained, path))


def freezing_schedule(trained: GraphModule, freezing: Freezing) -> BeforeStep:
    """What switches batch norm statistics and observed ranges off when their share of the steps is over."""
    layers = [module for module in batch_norm_modules(trained) if module.live]
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
        for layer in batch_norm_modules(graph_module):
            if isinstance(layer, BatchNormLayer) and isinstance(layer.quantizer, WeightQuantizer):
                layer.quantizer.fit(layer.folded()[0])


def _fuse_activations(graph_module: GraphModule) -> None:
    """Make each ReLU whose only reader is a quantizer the clip of that quantizer, which saves its passes."""
    for node in list(graph_module.graph.nodes):
        clip, users = _clip_of(node), list(node.users)
        if clip is None or len(users) != 1 or users[0].op != "call_module":
            continue
        quantizer = graph_module.get_submodule(str(users[0].target))
        if not isinstance(quantizer, TensorQuantizer) or len(_callers(graph_module, quantizer)) != 1:
            continue
        if quantizer.learned and clip != _RELU:  # the gradient of a learned scale knows no upper clip
            continue
        quantizer.clip = clip
        node.replace_all_uses_with(node.args[0])
        graph_module.graph.erase_node(node)
    graph_module.recompile()


def _callers(graph_module: GraphModule, module: torch.nn.Module) -> list[Node]:
    """Calls of a module under any of its names: tensors that share a scale share a quantizer."""
    calls = [node for node in graph_module.graph.nodes if node.op == "call_module"]
    return [node for node in calls if graph_module.get_submodule(str(node.target)) is module]


def _clip_of(node: Node) -> Clip | None:
    """What an activation function clips to; None for other nodes."""
    if node.target in (aten.relu.default, aten.relu_.default):
        return _RELU
    if node.target is aten.relu6.default or (
        node.target in (aten.hardtanh.default, aten.hardtanh_.default) and tuple(node.args[1:]) == (0.0, 6.0)
    ):
        return _RELU6
    return None
