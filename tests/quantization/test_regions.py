"""The choice of integer ops against an exhaustive search."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch.fx import Graph, Node

from harness.quantization.placement.regions import Kernels, choose_regions


def random_case(seed: int) -> tuple[Graph, Kernels]:
    """A graph of a few ops with one or two inputs each, tensors of several sizes."""
    rng = random.Random(seed)
    graph = Graph()
    nodes = [graph.placeholder("x")]
    for index in range(9):
        sources = rng.sample(nodes[-4:], k=min(len(nodes[-4:]), rng.choice((1, 1, 2))))
        nodes.append(graph.create_node("call_function", torch.add, tuple(sources), name=f"op{index}"))
    graph.output(nodes[-1])
    for node in nodes:
        node.meta["val"] = torch.empty(1, rng.choice((1, 2, 4, 8)), device="meta")
    kinds = {node: rng.choice(("always", "float_output", "optional", "optional", "float")) for node in nodes[1:-1]}
    always = {node for node, kind in kinds.items() if kind in ("always", "float_output")}
    float_output = {node for node, kind in kinds.items() if kind == "float_output"}
    return graph, Kernels(
        always, float_output, {n: rng.choice((0.0, 0.1)) for n, k in kinds.items() if k == "optional"}
    )


def cost(graph: Graph, kernels: Kernels, integer: set[Node], outputs: set[Node]) -> float:
    """Converted values, once per tensor and direction, and what float costs ops that have an integer kernel."""
    total = sum(saving * node.meta["val"].numel() for node, saving in kernels.optional.items() if node not in integer)
    for node in graph.nodes:
        sides = {user in integer for user in node.users}
        if node.op != "output" and (node not in outputs) in sides:
            total += node.meta["val"].numel()
    return total


def cheapest(graph: Graph, kernels: Kernels) -> float:
    free = [*kernels.optional, *kernels.float_output]
    found = []
    for choice in itertools.product((False, True), repeat=len(free)):
        chosen = {node for node, is_integer in zip(free, choice, strict=True) if is_integer}
        integer = set(kernels.always) | (chosen & set(kernels.optional))
        outputs = (set(kernels.always) - set(kernels.float_output)) | chosen
        found.append(cost(graph, kernels, integer, outputs))
    return min(found)


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_converts_fewer_values(seed: int) -> None:
    graph, kernels = random_case(seed)
    regions = choose_regions(graph, kernels, {})
    got = cost(graph, kernels, set(regions.integer), set(regions.integer_outputs))
    assert got == pytest.approx(cheapest(graph, kernels))


@pytest.mark.parametrize("seed", range(20))
def test_with_fewer_kernels_no_op_moves_to_the_integers(seed: int) -> None:
    graph, kernels = random_case(seed)
    full = choose_regions(graph, kernels, {})
    for skipped in [*kernels.always, *kernels.optional]:
        fewer = Kernels(
            set(kernels.always) - {skipped},
            set(kernels.float_output) - {skipped},
            {node: saving for node, saving in kernels.optional.items() if node is not skipped},
        )
        narrow = choose_regions(graph, fewer, {})
        assert narrow.integer <= full.integer
        assert narrow.integer_outputs <= full.integer_outputs


def test_an_absorbed_activation_function_is_one_with_its_op() -> None:
    graph = Graph()
    x = graph.placeholder("x")
    conv = graph.create_node("call_function", torch.conv2d, (x,), name="conv")
    relu = graph.create_node("call_function", torch.relu, (conv,), name="relu")
    pool = graph.create_node("call_function", torch.max_pool2d, (relu,), name="pool")
    last = graph.create_node("call_function", torch.conv2d, (pool,), name="last")
    graph.output(last)
    for node in (x, conv, relu, pool, last):
        node.meta["val"] = torch.empty(1, 4, device="meta")
    regions = choose_regions(graph, Kernels({conv, last}, set(), {pool: 0.0}), {relu: conv})
    assert regions.integer == {conv, pool, last}
