"""Splitting ops changes no result."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from oracles.networks import INPUT_SHAPE, captured, make_batch
from torch import nn

from harness.quantization.capture.graph import capture
from harness.quantization.placement.decompose import decompose

aten = torch.ops.aten


def targets(graph_module) -> set[object]:
    return {node.target for node in graph_module.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize(
    ("name", "gone", "instead"),
    [
        ("gated", aten.silu.default, aten.sigmoid.default),
        ("encoder", aten.scaled_dot_product_attention.default, aten.softmax.int),
        ("attention", aten.chunk.default, aten.slice.Tensor),
    ],
)
def test_the_parts_compute_what_the_whole_did(name: str, gone: object, instead: object) -> None:
    network = copy.deepcopy(captured(name))
    expected = network(make_batch(3))
    assert gone in targets(network)
    decompose(network)
    assert gone not in targets(network)
    assert instead in targets(network)
    torch.testing.assert_close(network(make_batch(3)), expected, rtol=1e-5, atol=1e-6)


def test_a_packed_weight_is_cut_into_parameters_that_train() -> None:
    network = copy.deepcopy(captured("crossattention"))
    assert aten.split_with_sizes.default not in targets(network)
    network(make_batch(3)).sum().backward()
    (first,) = [p for name, p in network.named_parameters() if "in_proj_weight" in name and len(p) == 16]
    assert first.shape == (16, 16)  # the query; key and value stay packed
    assert first.grad is not None


def test_causal_attention_is_left_whole() -> None:
    class Causal(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(2)
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    network = decompose(capture(Causal(), INPUT_SHAPE))
    assert aten.scaled_dot_product_attention.default in targets(network)
