"""Ops that engines know only as several: split before quantizers are placed, so that each part can be quantized."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph_tensors import call_before

aten = torch.ops.aten


def decompose(graph_module: GraphModule) -> GraphModule:
    """Split SiLU, attention, means over a map, `chunk`, `split` and `unbind`, in place; the function is the same."""
    for node in list(graph_module.graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        if rule is not None:
            rule(node)
            if not node.users:  # dropout makes attention impure, so dead code elimination would keep it
                graph_module.graph.erase_node(node)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module


def _silu(node: Node) -> None:
    source = node.args[0]
    gate = call_before(node, aten.sigmoid.default, source)
    node.replace_all_uses_with(call_before(node, aten.mul.Tensor, source, gate))


def _mean(node: Node) -> None:
    """A mean over height and width that drops them: a pooling, which can be quantized, and a flattening."""
    source, axes, *keeps = node.args
    assert isinstance(source, Node)
    fixed = sorted(axis % 4 for axis in axes if isinstance(axis, int)) if isinstance(axes, list | tuple) else []
    if source.meta["val"].ndim == 4 and fixed == [2, 3] and not any(keeps) and not node.kwargs.get("keepdim"):
        pooled = call_before(node, aten.mean.dim, source, axes, True)
        node.replace_all_uses_with(call_before(node, aten.flatten.using_ints, pooled, 1))


def _attention(node: Node) -> None:
    """softmax(q kᵀ · scale) v. Masks, causal attention and dropout are left to the exporter."""
    schema = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(schema, node.args, strict=False)) | node.kwargs
    if any(given.get(name) for name in ("attn_mask", "dropout_p", "is_causal", "enable_gqa")):
        return
    query, key, value = (given[name] for name in schema[:3])
    assert isinstance(query, Node)
    scale = given.get("scale") or 1.0 / math.sqrt(query.meta["val"].shape[-1])
    scores = call_before(node, aten.matmul.default, query, call_before(node, aten.transpose.int, key, -2, -1))
    weights = call_before(node, aten.softmax.int, call_before(node, aten.mul.Tensor, scores, scale), -1)
    node.replace_all_uses_with(call_before(node, aten.matmul.default, weights, value))


def _pieces(node: Node) -> None:
    """`chunk` and `split` become slices."""
    source = node.args[0]
    assert isinstance(source, Node)
    axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    assert isinstance(axis, int)
    sizes = [piece.shape[axis] for piece in node.meta["val"]]
    if not all(isinstance(size, int) for size in sizes):
        return
    for getitem in [user for user in node.users if user.target is operator.getitem]:
        index = getitem.args[1]
        assert isinstance(index, int)
        start = sum(sizes[: index % len(sizes)])
        end = start + sizes[index]
        getitem.replace_all_uses_with(call_before(getitem, aten.slice.Tensor, source, axis, start, end))


def _unbind(node: Node) -> None:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    for getitem in [user for user in node.users if user.target is operator.getitem]:
        getitem.replace_all_uses_with(call_before(getitem, aten.select.int, node.args[0], axis, getitem.args[1]))


_RULES: dict[Any, Callable[[Node], None]] = {
    aten.silu.default: _silu,
    aten.silu_.default: _silu,
    aten.mean.dim: _mean,
    aten.scaled_dot_product_attention.default: _attention,
    aten.chunk.default: _pieces,
    aten.split.Tensor: _pieces,
    aten.split_with_sizes.default: _pieces,
    aten.unbind.int: _unbind,
}
