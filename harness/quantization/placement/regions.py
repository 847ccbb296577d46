"""Which ops run on integers, so that the fewest values are converted between float and integers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

import networkx as nx
from torch.fx import Graph, Node

_INTEGER, _FLOAT = "integer", "float"


@dataclass(frozen=True)
class Kernels:
    """What a target can run on integers; every other op is float."""

    always: Set[Node]
    """Ops that pay for any conversion: convolutions and matrix products."""
    float_output: Set[Node]
    """Those of `always` whose integer kernel can hand out float as well."""
    optional: Mapping[Node, float]
    """Ops to run on integers unless the conversions cost more, with what the integer kernel saves, in converted values
    per value of its output."""


@dataclass(frozen=True)
class Regions:
    """The choice."""

    integer: Set[Node]
    """Ops that run on integers."""
    integer_outputs: Set[Node]
    """Ops whose output is integer, where their inputs are."""


def choose_regions(graph: Graph, kernels: Kernels, fused: Mapping[Node, Node]) -> Regions:
    """The cheapest choice, as a minimum cut; of equally cheap ones the one with most in float.

    `fused` maps an activation function to the op that absorbs it: the two are one. A value that is produced on one
    side of the cut and read on the other is converted once, whatever the number of readers. The choice is monotone:
    taking ops out of `kernels` never moves another one to the integers, so every tensor that a narrower placement
    quantizes is quantized in the full one.
    """
    network = _network(graph, kernels, fused)
    # `minimum_cut` returns the largest source side. From the float end, this is the smallest integer side.
    _, (floats, _) = nx.minimum_cut(network.reverse(), _FLOAT, _INTEGER)
    optional = {node for node in kernels.optional if node not in floats}
    outputs = {node for node in kernels.float_output if node not in floats}
    return Regions(
        integer=optional | set(kernels.always),
        integer_outputs=optional | outputs | (set(kernels.always) - set(kernels.float_output)),
    )


def _network(graph: Graph, kernels: Kernels, fused: Mapping[Node, Node]) -> nx.DiGraph:
    """Nodes reachable from `integer` after the cut run on integers; an edge without capacity cannot be cut."""
    network = nx.DiGraph()
    network.add_nodes_from((_INTEGER, _FLOAT))
    outputs = {kernel: node for node, kernel in fused.items()}
    for node in graph.nodes:
        if node.op not in ("call_function", "placeholder") or node in fused:
            continue
        tensor = outputs.get(node, node)
        producer = _as_producer(node, kernels)
        if node in kernels.optional:
            network.add_edge(_INTEGER, node, capacity=kernels.optional[node] * values(tensor))
        network.add_node(producer)
        _add_conversions(network, tensor, producer, {_as_reader(user, kernels) for user in tensor.users})
    return network


def _add_conversions(network: nx.DiGraph, tensor: Node, producer: Node | str, readers: set[Node | str]) -> None:
    quantize, dequantize = ("quantize", tensor), ("dequantize", tensor)
    network.add_edge(quantize, producer, capacity=values(tensor))
    network.add_edge(producer, dequantize, capacity=values(tensor))
    for reader in readers:
        network.add_edge(reader, quantize)
        network.add_edge(dequantize, reader)


def _as_reader(node: Node, kernels: Kernels) -> Node | str:
    if node in kernels.optional:
        return node
    return _INTEGER if node in kernels.always else _FLOAT


def _as_producer(node: Node, kernels: Kernels) -> Node | str:
    if node in kernels.optional or node in kernels.float_output:
        return node
    return _INTEGER if node in kernels.always else _FLOAT


def values(node: Node) -> int:
    """Number of values of one sample in the node's tensor; dimensions that are not fixed count as 1."""
    shape = getattr(node.meta.get("val"), "shape", ())
    return math.prod(size for size in shape if isinstance(size, int))
