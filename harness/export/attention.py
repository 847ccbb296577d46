"""Attention in the one form that the exporter translates: four dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten
_HEADS = 1
"""Dimension of (N, heads, T, C) that inputs (N, T, C) lack."""
_INPUTS = ("query", "key", "value", "attn_mask")


def with_heads(graph_module: GraphModule) -> GraphModule:
    """The network with attention on (N, T, C) as attention with one head; itself where there is none."""
    if not any(map(_has_no_heads, graph_module.graph.nodes)):
        return graph_module
    graph = Graph()
    graph.output(graph.graph_copy(graph_module.graph, {}))
    for node in filter(_has_no_heads, list(graph.nodes)):
        _give_head(node)
    copy = GraphModule(graph_module, graph)
    copy.meta.update(graph_module.meta)
    return copy


def _has_no_heads(node: Node) -> bool:
    if node.target != aten.scaled_dot_product_attention.default:
        return False
    tensors = [given for given in node.args[:3] if isinstance(given, Node)]
    return len(tensors) == 3 and all(_rank(tensor) == 3 for tensor in tensors)


def _rank(node: Node) -> int:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, torch.Tensor) else -1


def _give_head(node: Node) -> None:
    """Masks (T, S) are broadcast over heads as they are."""
    given: dict[str, Any] = dict(zip(_INPUTS, node.args, strict=False)) | dict(node.kwargs)
    for name in _INPUTS:
        tensor = given.get(name)
        if isinstance(tensor, Node) and _rank(tensor) == 3:
            given[name] = _call(node, aten.unsqueeze.default, tensor)
    rest = node.args[len(_INPUTS) :]
    node.args = (*(given.get(name) for name in _INPUTS[: len(node.args)]), *rest)
    node.kwargs = {name: given.get(name, value) for name, value in node.kwargs.items()}
    with node.graph.inserting_after(node):
        squeezed = node.graph.call_function(aten.squeeze.dim, (node, _HEADS))
    squeezed.meta = dict(node.meta)
    node.replace_all_uses_with(squeezed, delete_user_cb=lambda user: user is not squeezed)
    node.meta = {key: value for key, value in node.meta.items() if key != "val"}


def _call(before: Node, operator: Any, tensor: Node) -> Node:
    with before.graph.inserting_before(before):
        made = before.graph.call_function(operator, (tensor, _HEADS))
    made.meta = {key: value for key, value in before.meta.items() if key != "val"}
    return made
