"""Batch norms that were not folded, as the multiplication and addition that they are in evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BatchNorm
from harness.quantization.capture.fold import is_frozen_batch_norm
from harness.quantization.capture.graph_tensors import add_tensor, drop_unread_tensors

aten = torch.ops.aten


def write_batch_norms_as_affine(graph_module: GraphModule) -> None:
    """Write them out, in place, for tools that would fold every batch norm they find."""
    for norm in [node for node in graph_module.graph.nodes if is_frozen_batch_norm(node)]:
        factor, shift = BatchNorm.of(graph_module, norm).factor_and_shift()
        scaled = _apply(graph_module, norm, aten.mul.Tensor, norm.args[0], factor)
        norm.replace_all_uses_with(_apply(graph_module, norm, aten.add.Tensor, scaled, shift))
        graph_module.graph.erase_node(norm)
    graph_module.graph.eliminate_dead_code()
    drop_unread_tensors(graph_module)
    graph_module.recompile()


def _apply(graph_module: GraphModule, norm: Node, target: Any, source: Any, values: torch.Tensor) -> Node:
    """`target(source, values)` in front of `norm`, with one value per channel."""
    values = values.float().reshape(1, -1, *[1] * (norm.meta["val"].ndim - 2))
    constant = add_tensor(graph_module, f"{norm.name}_{target._schema.name[-3:]}", values, norm, trains=True)
    with graph_module.graph.inserting_before(norm):
        node = graph_module.graph.call_function(target, (source, constant))
    node.meta = dict(norm.meta)
    return node
