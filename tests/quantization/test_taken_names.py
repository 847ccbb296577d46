"""A network may name its tensors and modules as a graph names what it has itself."""

from __future__ import annotations

import functools

import pytest
import torch
from oracles.forms import FORM_SHAPE, form_batch
from torch import nn
from torch.fx import Graph, GraphModule

from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.capture.modules import module_path
from harness.quantization.placement.rules import RuleSet
from harness.quantization.prepared import prepare, weight_quantizers
from harness.targets import get_target

N_CHANNELS = FORM_SHAPE[0]
NAMES = sorted((set(dir(GraphModule(nn.Module(), Graph()))) | {"shape_env"}) - set(dir(nn.Module())) - {"__deepcopy__"})
"""A tensor named `__deepcopy__` makes the user's own network impossible to copy."""


class Named(nn.Module):
    """One tensor or layer under each of the names."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        for name in NAMES:
            if kind == "layer":
                self.add_module(name, nn.Conv2d(N_CHANNELS, N_CHANNELS, 1))
            elif kind == "parameter":
                self.register_parameter(name, nn.Parameter(torch.rand(N_CHANNELS, 1, 1)))
            else:
                self.register_buffer(name, torch.rand(N_CHANNELS, 1, 1), persistent=kind == "buffer")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in NAMES:
            value = getattr(self, name)
            x = value(x) if self.kind == "layer" else x + value
        return x


@functools.cache
def named(kind: str) -> tuple[nn.Module, GraphModule]:
    torch.manual_seed(0)
    network = Named(kind).eval()
    return network, capture(network, FORM_SHAPE)


@pytest.mark.parametrize("kind", ["layer", "parameter", "buffer", "buffer that is not saved"])
def test_every_name_is_captured(kind: str) -> None:
    network, graph = named(kind)
    assert {"code", "graph", "meta", "recompile", "delete_submodule"} < set(NAMES)
    torch.testing.assert_close(graph(form_batch(3)), network(form_batch(3)))
    assert type(graph).print_readable(graph, print_output=False)  # the graph's own attributes are still its own


def test_layers_keep_their_names() -> None:
    _, graph = named("layer")
    assert [module_path(node) for node in graph.graph.nodes if node.op == "call_function"] == NAMES


def quantized_layers(*skip: str) -> set[str]:
    """The paths of their weights."""
    target = get_target("onnxruntime")
    quantizer = target.quantizer(
        target.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet((), skip),
    )
    return {quantizer.name for quantizer in weight_quantizers(prepare(named("layer")[1], quantizer))}


def test_rules_find_layers_by_their_names() -> None:
    assert quantized_layers() - quantized_layers("code", "graph") == {"code_1.weight", "graph_1.weight"}
