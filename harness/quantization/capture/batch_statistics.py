"""Normalisations by the batch's own mean and variance, which an engine runs only in plain arithmetic."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph_tensors import call_before
from harness.quantization.capture.operators import BATCH_NORM

aten = torch.ops.aten
_USES_BATCH, _EPS = 5, 7


def spell_out_batch_statistics(graph_module: GraphModule) -> int:
    """Write out, in place, every batch norm that has no running statistics or is always in training; how many.

    Inference kernels of batch norm take fixed statistics. The function is the same, for any batch.
    """
    norms = [node for node in graph_module.graph.nodes if node.target is BATCH_NORM and node.args[_USES_BATCH]]
    for norm in norms:
        norm.replace_all_uses_with(_normalised(norm))
    _forget_running_statistics(graph_module)
    for norm in norms:
        graph_module.graph.erase_node(norm)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return len(norms)


def _normalised(norm: Node) -> Node:
    source, gamma, beta, *_ = norm.args
    assert isinstance(source, Node)
    n_axes = source.meta["val"].ndim
    axes = [axis for axis in range(n_axes) if axis != 1]
    shape = [1, -1, *[1] * (n_axes - 2)]
    centred = call_before(norm, aten.sub.Tensor, source, call_before(norm, aten.mean.dim, source, axes, True))
    variance = call_before(norm, aten.mean.dim, call_before(norm, aten.square.default, centred), axes, True)
    inverse = call_before(norm, aten.rsqrt.default, call_before(norm, aten.add.Tensor, variance, norm.args[_EPS]))
    result = call_before(norm, aten.mul.Tensor, centred, inverse)
    if gamma is not None:
        result = call_before(norm, aten.mul.Tensor, result, call_before(norm, aten.view.default, gamma, shape))
    if beta is not None:
        result = call_before(norm, aten.add.Tensor, result, call_before(norm, aten.view.default, beta, shape))
    return result


def _forget_running_statistics(graph_module: GraphModule) -> None:
    """An instance norm by its own statistics would go on counting in the graph's buffers."""
    for node in graph_module.graph.nodes:
        if node.target is aten.instance_norm.default and node.args[_USES_BATCH]:
            node.args = (*node.args[:3], None, None, *node.args[_USES_BATCH:])
