"""NNCF's own OpenVINO model: what it writes, and that it is what the target builds, checks and audits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.networks import INPUT_SHAPE, captured, make_network

from harness.exporting.onnx_export import export_onnx
from harness.results import Layer, Variant
from harness.runs.availability import unavailable_reason
from harness.targets import get_target
from harness.toolkits import get_toolkit
from harness.toolkits.base import Batches, NetworkSource, Request
from harness.verification.onnx_steps import ExpectedOutputs, check_engine_outputs, check_toolkit_file, file_run

pytest.importorskip("nncf")
pytest.importorskip("openvino")

TARGET = get_target("openvino")
TOOLKIT = get_toolkit("nncf-openvino")
SAMPLES = 12
REQUEST = Request("max", None, per_channel=True, weight_bits=8, skip=(), target="openvino")
Quantize = Callable[..., Path]


def variant(target: str = "openvino") -> Variant:
    fields = {"id": "v", "model": "m", "method": "ptq", "target": target, "batch_size": 1, "toolkit": TOOLKIT.name}
    return Variant.model_validate(
        fields | {"calibrator": "max", "per_channel": True, "weight_bits": 8, "activation_bits": 8}
    )


def images() -> torch.Tensor:
    return torch.randn(SAMPLES, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def quantize(tmp_path: Path) -> Quantize:
    def run(network: str, request: Request = REQUEST) -> Path:
        graph = captured(network)
        export_onnx(graph, INPUT_SHAPE, tmp_path / "model.onnx", integer_biases=False)
        source = NetworkSource(
            onnx_path=tmp_path / "model.onnx",
            input_shape=INPUT_SHAPE,
            make_network=lambda: copy.deepcopy(make_network(network)),
            make_graph=lambda: copy.deepcopy(graph),
            make_quantizer=lambda: pytest.fail("it has a placement of its own"),
        )
        calibration = images()
        TOOLKIT.quantize(source, tmp_path / "model.xml", Batches(SAMPLES, 1, lambda part: calibration[part]), request)
        return tmp_path / "model.xml"

    return run


def test_read_as_it_is_the_depthwise_convolution_stays_in_fp32(
    quantize: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TOOLKIT", get_toolkit("nncf-openvino-unfolded"))
    layers = layers_of(quantize("depthwise"))
    assert [name for name, layer in layers.items() if not layer.int8] == ["depthwise.0"]


def layers_of(model: Path) -> dict[str, Layer]:
    (model.parent / "engine").mkdir()
    engine = TARGET.build(model, model.parent / "engine", TARGET.build_options(variant(), threads=1))
    return {layer.name: layer for layer in TARGET.audit(engine.path, model) if layer.macs}


def sqnr_db(expected: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.square(expected).sum() / np.square(expected - found).sum()))


def test_the_model_is_close_to_the_network_and_not_equal(quantize: Quantize) -> None:
    model, batch = quantize("residual"), images().numpy()
    expected = file_run(model.with_suffix(".onnx"))(batch)
    assert 20 < sqnr_db(expected, TARGET.as_written(model)(batch)) < 60


@pytest.mark.parametrize("network", ["residual", "depthwise"])
def test_every_layer_multiplies_integers_and_has_the_macs_of_the_fp32_file(quantize: Quantize, network: str) -> None:
    from harness.exporting.macs import weighted_layers

    model = quantize(network)
    layers = layers_of(model)
    expected = {layer.name: layer.macs for layer in weighted_layers(model.with_suffix(".onnx"))}
    assert {name: layer.macs for name, layer in layers.items()} == expected
    assert [layer.name for layer in layers.values() if not layer.int8] == []


def test_a_skipped_module_is_float_alone_and_the_audit_says_whose_doing_it_is(quantize: Quantize) -> None:
    request = Request("max", None, per_channel=True, weight_bits=8, skip=("conv1.0",), target="openvino")
    layers = layers_of(quantize("residual", request))
    floats = {name: layer.reason for name, layer in layers.items() if not layer.int8}
    assert floats == {"conv1.0": "not quantized in the toolkit's model"}


def test_percentile_clips_where_max_does_not(quantize: Quantize) -> None:
    percentile = Request("percentile", 90.0, per_channel=True, weight_bits=8, skip=(), target="openvino")
    batch = images().numpy()
    clipped, whole = (
        np.abs(TARGET.as_written(quantize("residual", each))(batch)).max() for each in (percentile, REQUEST)
    )
    assert clipped < whole


def test_file_and_engine_are_checked_at_both_batch_sizes(quantize: Quantize) -> None:
    model, samples = quantize("residual"), images().numpy()[:4]
    run = file_run(model.with_suffix(".onnx"))
    made, expected = check_toolkit_file(model, ExpectedOutputs(samples, [run(samples[:1]), run(samples[1:])]), TARGET)
    options = TARGET.build_options(variant(), threads=1)
    engine = TARGET.build(model, model.parent, options)
    check = check_engine_outputs(TARGET.open(engine.path, options), model, expected, (1, 3), TARGET)
    assert (made.step, check.step) == ("toolkit → model of the target", "model of the target → engine")
    assert check.limit_db == 10.0


def test_other_targets_cannot_build_it() -> None:
    reason = unavailable_reason(variant("onnxruntime"))
    assert reason == "nncf-openvino writes no ONNX file but a model (`.xml`) that onnxruntime cannot build"
