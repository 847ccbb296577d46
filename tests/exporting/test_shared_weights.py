"""Weights that layers share, and names that modules and the exporter's rewrites could both want."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.quantization.network import QuantizedNetwork
from harness.supergradients.export import export_quantized_module_to_onnx
from harness.supergradients.selective import SelectiveQuantizer
from harness.targets import get_target

TARGET = get_target("onnxruntime")
SHAPE = (8, 4, 4)


class Twice(nn.Module):
    """A layer that is called twice, beside a layer norm whose bias equals its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.head = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4)
        nn.init.zeros_(self.a.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.a(x.flatten(2).transpose(1, 2)))
        return self.head(self.norm(self.a(x)).mean(1))


class Tied(nn.Module):
    """A weight that is read as it is and transposed: scales fit the channels of one layer only."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.a(x.mean((2, 3)))) @ self.a.weight


class Taken(nn.Module):
    """A module with the name that the exporter's rewrite gives to a layer's bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.add_module("a#2", nn.Linear(8, 8))
        self.head = nn.Linear(8, 4)
        self.input = nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.a(x.mean((2, 3)) * self.input))
        return self.head(F.relu(self.a(F.relu(self.get_submodule("a#2")(x)))))


def quantized(network: nn.Module) -> QuantizedNetwork:
    quantizer = SelectiveQuantizer(default_quant_modules_calibrator_inputs="max", verbose=False)
    found = quantizer.quantize_module(network.eval(), SHAPE)
    found.calibrate([torch.randn(16, *SHAPE)], "max", 99.99)
    return found


@pytest.mark.parametrize("make", [Twice, Tied, Taken])
@pytest.mark.thorough(keep=1)
def test_the_engine_computes_the_quantized_network_whatever_is_shared(make: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = quantized(make())
    path = export_quantized_module_to_onnx(network, tmp_path / "m.onnx")
    names = [node.name for node in onnx.load(path).graph.node]
    assert len(names) == len(set(names))
    samples = torch.randn(4, *SHAPE)
    wanted = network(samples).detach().numpy()
    engine = TARGET.build(path, tmp_path, TARGET.options_from({"exact_products": True}))
    error = wanted - TARGET.open(engine.path, engine.options).run(samples.numpy())
    # One rounding of one tensor may fall the other way; a wrong scale leaves less than 30 dB.
    assert not error.any() or 10 * np.log10((wanted**2).sum() / (error**2).sum()) > 30
    fast = TARGET.build(path, tmp_path, TARGET.options_from({"exact_products": False}))
    assert [layer.op for layer in TARGET.audit(fast.path, path) if layer.macs]
