"""Attention in the one form that torch's exporter writes: batch, heads, length, width."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph_tensors import call_before

aten = torch.ops.aten
_AXES = 4
_HEADS = -3
_OPERANDS = ("query", "key", "value", "attn_mask")
_SCHEMA = (*_OPERANDS, "dropout_p", "is_causal")


def spell_out_heads(graph_module: GraphModule) -> None:
    """Give attention over fewer than four axes an axis of one head, and take it away behind it, in place."""
    for node in list(graph_module.graph.nodes):
        if node.op == "call_function" and node.target is aten.scaled_dot_product_attention.default:
            _spell_out(node)


def _spell_out(node: Node) -> None:
    given: dict[str, Any] = dict(zip(_SCHEMA, node.args, strict=False)) | node.kwargs
    operands = {name: given[name] for name in _OPERANDS if given.get(name) is not None}
    axes = max(_n_axes(operand) for operand in operands.values())
    if axes >= _AXES or given.get("enable_gqa"):
        return
    missing = _AXES - axes
    whole = {name: _with_axes(node, operand, axes, missing) for name, operand in operands.items()}
    attention = call_before(node, node.target, **(given | whole))
    for _ in range(missing):
        attention = call_before(node, aten.squeeze.dim, attention, _HEADS)
    node.replace_all_uses_with(attention)
    node.graph.erase_node(node)


def _n_axes(operand: Node) -> int:
    n_axes: int = operand.meta["val"].ndim
    return n_axes


def _with_axes(node: Node, operand: Node, axes: int, missing: int) -> Node:
    """The operand over four axes. What has fewer than the others, such as a mask of all samples, is broadcast."""
    if _n_axes(operand) < axes:
        return operand
    for _ in range(missing):
        operand = call_before(node, aten.unsqueeze.default, operand, _HEADS)
    return operand
