"""Global average pooling written as a mean, which the exporter translates whatever the memory layout of its input."""

from __future__ import annotations

import torch
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten


def with_means(graph_module: GraphModule) -> GraphModule:
    """The network with each pooling to 1 x 1 as a mean over height and width; itself where there is none.

    For an input whose channels lie last in memory torch decomposes that pooling into a mean and a restrided view, which
    the exporter writes as a loop over sequences.
    """
    if not any(map(_is_global_pooling, graph_module.graph.nodes)):
        return graph_module
    graph = Graph()
    graph.output(graph.graph_copy(graph_module.graph, {}))
    for node in filter(_is_global_pooling, graph.nodes):
        node.target, node.args, node.kwargs = aten.mean.dim, (node.args[0], [-1, -2], True), {}
    copy = GraphModule(graph_module, graph)
    copy.meta.update(graph_module.meta)
    return copy


def _is_global_pooling(node: Node) -> bool:
    if node.target != aten.adaptive_avg_pool2d.default:
        return False
    sizes = node.args[1]
    return isinstance(sizes, list | tuple) and list(sizes) == [1, 1]
