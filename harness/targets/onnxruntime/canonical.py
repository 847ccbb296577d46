"""One file for one network: the optimized graph with its nodes, names and initializers in an order of their own.

ONNX Runtime's optimizer numbers the tensors and nodes that it adds, and orders independent nodes, differently from
process to process.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from itertools import chain, count
from typing import NamedTuple

from onnx import GraphProto, ModelProto, NodeProto

from harness.exporting.onnx_index import all_graphs, all_nodes, subgraphs

_NUMBER = re.compile(r"(_token_\d+)+$")


def canonicalize(engine: ModelProto, source: ModelProto) -> None:
    """Order the nodes of the engine as `source` has them, and number the names that `source` does not have."""
    positions = {name: i for i, node in enumerate(all_nodes(source.graph)) for name in node.output}
    for graph in all_graphs(engine.graph):
        _order(graph, positions)
    _renumber(engine, source)


class _Rank(NamedTuple):
    """What decides between nodes that could both be next."""

    position: int
    """In the source, of the first node downstream that the source has."""
    input_index: int
    """At which input of its first reader a node stands that the source does not have."""


def _order(graph: GraphProto, positions: dict[str, int]) -> None:
    nodes = list(graph.node)
    ranks = _ranks(nodes, positions)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waits = [{makers[name] for name in _inputs(node) if name in makers} for node in nodes]
    readers: dict[int, list[int]] = {}
    for index, makers_of in enumerate(waits):
        for maker in makers_of:
            readers.setdefault(maker, []).append(index)
    ready = [(ranks[i], i) for i, makers_of in enumerate(waits) if not makers_of]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for reader in readers.get(index, ()):
            waits[reader].discard(index)
            if not waits[reader]:
                heapq.heappush(ready, (ranks[reader], reader))
    del graph.node[:]
    graph.node.extend(ordered)


def _ranks(nodes: list[NodeProto], positions: dict[str, int]) -> list[_Rank]:
    """Rank of each node. A reader comes after what it reads, so that one pass from the back suffices."""
    last = _Rank(len(positions), 0)
    of_tensor: dict[str, _Rank] = {}
    ranks = [last] * len(nodes)
    for index in reversed(range(len(nodes))):
        own = [_Rank(positions[name], 0) for name in nodes[index].output if name in positions]
        read = [of_tensor[name] for name in nodes[index].output if name in of_tensor]
        ranks[index] = min(own or read, default=last)
        for slot, name in enumerate(_inputs(nodes[index])):
            rank = _Rank(ranks[index].position, slot)
            of_tensor[name] = min(of_tensor.get(name, rank), rank)
    return ranks


def _inputs(node: NodeProto) -> Iterator[str]:
    """What a node reads, with what the bodies in it read from outside."""
    yield from filter(None, node.input)
    for body in subgraphs(node):
        for inner in body.node:
            yield from _inputs(inner)


def _renumber(engine: ModelProto, source: ModelProto) -> None:
    nodes = [node for graph in all_graphs(engine.graph) for node in graph.node]
    new_node = _renamed(
        [node.name for node in nodes if node.name],
        {node.name for graph in all_graphs(source.graph) for node in graph.node},
    )
    new_tensor = _renamed(
        [name for node in nodes for name in (*node.input, *node.output) if name],
        {name for graph in all_graphs(source.graph) for name in _tensors(graph)},
    )
    for node in nodes:
        node.name = new_node.get(node.name, node.name)
        for names in (node.input, node.output):
            names[:] = [new_tensor.get(name, name) for name in names]
    for graph in all_graphs(engine.graph):
        for value in chain(graph.initializer, graph.value_info, graph.input, graph.output):
            value.name = new_tensor.get(value.name, value.name)
        for repeated in (graph.initializer, graph.value_info):
            repeated.sort(key=lambda value: value.name)


def _renamed(names: list[str], fixed: set[str]) -> dict[str, str]:
    """New names for those that are not fixed, by old name."""
    new: dict[str, str] = {}
    taken = set(fixed)
    for name in dict.fromkeys(names):
        if name not in fixed:
            base = _NUMBER.sub("", name) or "added"  # some names are a number and nothing else
            candidates = chain([base], (f"{base}_token_{number}" for number in count(1)))
            new[name] = next(each for each in candidates if each not in taken)
            taken.add(new[name])
    return new


def _tensors(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in chain(graph.initializer, graph.input, graph.output))
    for node in graph.node:
        yield from (*node.input, *node.output)
