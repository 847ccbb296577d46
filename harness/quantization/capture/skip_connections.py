"""From the skip-connection modules of a model file to notes on the operations that read their tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness import skip_connections

assert skip_connections  # defines the operation
_SKIP_CONNECTION = torch.ops.harness.skip_connection.default
_KEY = "skip_connections"


@dataclass(frozen=True, eq=False)
class MarkedEdge:
    """One skip-connection module in front of one operation. It replaces a graph node where modules are looked up."""

    source: str
    """Name of the graph node whose tensor is marked; names outlive copies of a graph, nodes do not."""
    meta: dict[str, Any]


def note_skip_connections(graph_module: GraphModule) -> None:
    """Remove the operations of skip-connection modules from the graph, in place, and note each on its readers."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function" or node.target is not _SKIP_CONNECTION:
            continue
        source = node.args[0]
        assert isinstance(source, Node)
        edge = MarkedEdge(source.name, {"nn_module_stack": node.meta.get("nn_module_stack") or {}})
        for user in node.users:
            user.meta[_KEY] = (*user.meta.get(_KEY, ()), edge)
        node.replace_all_uses_with(source)
        graph_module.graph.erase_node(node)
    graph_module.recompile()


def skip_connections_of(node: Node) -> tuple[MarkedEdge, ...]:
    """The skip connections in front of this operation."""
    found: tuple[MarkedEdge, ...] = node.meta.get(_KEY, ())
    return found


def all_skip_connections(graph_module: GraphModule) -> list[MarkedEdge]:
    """Every skip connection of a captured graph."""
    return [edge for node in graph_module.graph.nodes for edge in skip_connections_of(node)]


def skip_connection_input(node: Node, edge: MarkedEdge) -> Node | None:
    """The input of `node` that comes through the skip connection."""
    return next((source for source in node.all_input_nodes if source.name == edge.source), None)
