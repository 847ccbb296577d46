"""Keeps torchao's hands off the batch norms that our own folding left where they are."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from harness.quantization.capture.operators import BATCH_NORM


def kept_batch_norm(*args: object) -> torch.Tensor:
    """`aten.batch_norm` under a name that passes over the graph do not know."""
    result: torch.Tensor = BATCH_NORM(*args)
    return result


def hide_batch_norms(graph_module: GraphModule) -> None:
    """Rename every batch norm of the graph, in place.

    `prepare_pt2e` and `convert_pt2e` fold batch norms themselves, whoever else reads the layer's output or weight.
    """
    _rename(graph_module, BATCH_NORM, kept_batch_norm)


def show_batch_norms(graph_module: object) -> GraphModule:
    """The network with the names of its batch norms as before."""
    assert isinstance(graph_module, GraphModule)
    _rename(graph_module, kept_batch_norm, BATCH_NORM)
    return graph_module


def _rename(graph_module: GraphModule, old: object, new: object) -> None:
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target is old:
            node.target = new
    graph_module.recompile()
