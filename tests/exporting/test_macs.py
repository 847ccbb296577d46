"""Whole networks: the count of their ONNX file against torch's own counter, whatever the way to the shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.exporting.macs import weighted_layers
from harness.exporting.onnx_export import export_onnx
from harness.quantization.capture.graph import capture
from harness.targets import get_target
from tests.exporting.small_networks import NETWORKS

SLOW = {"lstm"}
"""Networks that torch's exporter takes minutes for."""


def counted_by_torch(network: nn.Module, shape: tuple[int, ...]) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        network(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def exported(make: Callable[[], nn.Module], shape: tuple[int, ...], path: Path) -> Path:
    torch.manual_seed(0)
    export_onnx(capture(make().eval(), shape), shape, path, integer_biases=False)
    return path


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETWORKS])
@pytest.mark.thorough(keep=1)
def test_the_count_is_torchs_own_and_the_audit_of_the_engine_adds_up_to_it(name: str, tmp_path: Path) -> None:
    make, shape, recurrent = NETWORKS[name]
    path = exported(make, shape, tmp_path / "m.onnx")
    wanted = counted_by_torch(make().eval(), shape) if recurrent is None else recurrent
    assert wanted > 0
    layers = weighted_layers(path)
    assert sum(layer.macs for layer in layers) == wanted
    target = get_target("onnxruntime")
    engine = target.build(path, tmp_path, target.options_from({}))
    audited = [layer for layer in target.audit(engine.path, path) if layer.macs]
    assert {layer.name: layer.macs for layer in audited} == {layer.name: layer.macs for layer in layers}
    assert len(audited) == len(layers)
    assert {layer.reason for layer in audited} == {"the ONNX file is not quantized"}
