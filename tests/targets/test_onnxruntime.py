"""Target `onnxruntime`: from the Q/DQ network to an audited engine that computes the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from oracles.engines import TARGET, build, calibrated, prepare, variant
from oracles.networks import INPUT_SHAPE, NETWORKS, captured, make_batch, make_network

from harness.errors import StageError
from harness.exporting.macs import weighted_layers
from harness.exporting.onnx_export import export_onnx
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.settings import Rule
from harness.targets.onnxruntime import OnnxRuntimeOptions


@pytest.mark.parametrize("per_channel", [True, False], ids=["perchannel", "pertensor"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.thorough(keep=1)
def test_the_whole_engine_runs_on_integers(name: str, per_channel: bool, tmp_path: Path) -> None:
    prepared = prepare(name, per_channel)
    path, engine = build(prepared, tmp_path)
    layers = TARGET.audit(engine.path, path)
    weighted = [layer for layer in layers if layer.weight_type is not None]
    assert len(weighted) == len(weighted_layers(path))
    assert [layer.name for layer in weighted if not layer.int8] == []
    assert {layer.op for layer in weighted} == {"QLinearConv", "QGemm"}
    assert all(layer.macs > 0 for layer in weighted)
    # Between the first quantization and the logits nothing is float.
    assert [layer.op for layer in layers if layer.input_type == "float"] == ["QuantizeLinear"]

    batch = make_batch(32, seed=4)
    expected = prepared(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    # A rounding that falls the other way costs one step of one activation.
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
    assert (got.argmax(1) == expected.argmax(1)).mean() > 0.95


def test_macs_are_those_of_the_textbook(tmp_path: Path) -> None:
    path, _ = build(prepare("depthwise"), tmp_path)
    macs = {layer.name: layer.macs for layer in weighted_layers(path)}
    assert macs == {
        "expand.0": 16 * 16 * 16 * 3,  # 16 outputs on 16 x 16, 3 inputs, 1 x 1
        "depthwise.0": 16 * 8 * 8 * 9,  # 16 outputs on 8 x 8, 1 input each, 3 x 3
        "project.0": 8 * 8 * 8 * 16,
        "head": 5 * 128,
    }


def test_a_skipped_layer_is_audited_as_float_with_the_reason(tmp_path: Path) -> None:
    path, engine = build(prepare("residual", skip=("conv1",)), tmp_path)
    float_layers = [layer for layer in TARGET.audit(engine.path, path) if layer.weight_type == "float"]
    assert [layer.name for layer in float_layers] == ["conv1.0"]
    assert float_layers[0].reason == "its weight is float in the ONNX file"


def test_fp32_engines_have_no_integer_layer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    network = make_network("residual")
    export_onnx(capture(network, INPUT_SHAPE), INPUT_SHAPE, path, integer_biases=True)
    engine = TARGET.build(path, tmp_path, OnnxRuntimeOptions())
    layers = [layer for layer in TARGET.audit(engine.path, path) if layer.weight_type is not None]
    assert len(layers) == 4
    assert not any(layer.int8 for layer in layers)
    batch = make_batch(5)
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    np.testing.assert_allclose(got, network(batch).detach().numpy(), rtol=1e-3, atol=1e-4)


def test_files_are_valid_dynamic_and_free_of_local_paths(tmp_path: Path) -> None:
    path, _ = build(prepare("concat"), tmp_path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param != ""
    assert model.opset_import[0].version >= 21
    text = path.read_bytes()
    assert b"stack_trace" not in text
    assert str(Path(__file__).parent).encode() not in text
    assert {node.name for node in model.graph.node if node.op_type == "Conv"} == {"left.0", "right.0", "merge.0"}


def test_biases_of_integer_layers_are_int32(tmp_path: Path) -> None:
    path, _ = build(prepare("residual"), tmp_path)
    model = onnx.load(path)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["head.bias_int32"] == onnx.TensorProto.INT32
    assert types["conv1.0.bias_int32"] == onnx.TensorProto.INT32


def test_a_nearly_dead_channel_keeps_its_bias(tmp_path: Path) -> None:
    prepared = prepare("residual")
    weights = dict(prepared.named_parameters())
    with torch.no_grad():
        weights["conv1.0.weight"][2] = 1e-12
        next(p for n, p in weights.items() if n.startswith("conv1.0") and p.ndim == 1)[2] = 3.0
    _, engine = build(prepared, tmp_path)
    batch = make_batch(8)
    expected = prepared(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_fp16_is_refused_with_the_reason() -> None:
    assert "FP16" in str(TARGET.refusal(variant(method="fp16")))
    assert TARGET.refusal(variant()) is None


def test_weight_bytes_are_those_of_the_engine(tmp_path: Path) -> None:
    # 16 channels, because ONNX Runtime pads float convolutions to blocks of 8 or 16 channels, as the CPU has it.
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3)).eval()
    path = tmp_path / "model.onnx"
    export_onnx(capture(network, INPUT_SHAPE), INPUT_SHAPE, path, integer_biases=True)
    engine = TARGET.build(path, tmp_path, OnnxRuntimeOptions())
    assert engine.weight_bytes == 4 * (3 * 16 * 9 + 16 + 16 * 16 * 9 + 16)


@pytest.mark.parametrize(("bits", "deployable"), [(8, True), (7, True), (4, False)])
def test_only_widths_with_kernels_are_deployable(bits: int, deployable: bool) -> None:
    assert TARGET.is_deployable(variant(weight_bits=bits, activation_bits=8)) is deployable


def test_16_bits_of_one_layer_leave_the_others_on_integers(tmp_path: Path) -> None:
    rule = Rule.model_validate({"modules": ["conv2"], "input": {"num_bits": 16}})
    quantizer = TARGET.quantizer(
        TARGET.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet((rule,)),
    )
    prepared = calibrated(captured("residual"), quantizer, make_batch())
    path, engine = build(prepared, tmp_path)
    weighted = {layer.name: layer for layer in TARGET.audit(engine.path, path) if layer.weight_type is not None}
    reasons = {name: layer.reason for name, layer in weighted.items() if not layer.int8}
    assert reasons == {
        "conv1.0": "it writes 16-bit integers, and ONNX Runtime has integer kernels for 8 bits only",
        "conv2.0": "it reads 16-bit integers, and ONNX Runtime has integer kernels for 8 bits only",
    }
    batch = make_batch(32, seed=4)
    expected = prepared(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("bits", "vnni", "exact"),
    [(8, False, True), (7, False, False), (8, True, False), (7, True, False)],
)
def test_exact_kernels_are_asked_for_only_where_the_fast_ones_can_overflow(
    monkeypatch: pytest.MonkeyPatch, bits: int, vnni: bool, exact: bool
) -> None:
    monkeypatch.setattr("harness.machine.hardware.has_vnni", lambda: vnni)
    assert TARGET.build_options(variant(weight_bits=bits), threads=1).exact_products is exact


def test_the_engine_computes_exactly_with_the_largest_weights(tmp_path: Path) -> None:
    """255 x 127 twice does not fit into 16 bits: with saturating kernels the sum would be too small."""
    network = torch.nn.Sequential(torch.nn.Conv2d(64, 8, 1, bias=False), torch.nn.Flatten(), torch.nn.Linear(8 * 16, 4))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    quantizer = TARGET.quantizer(
        TARGET.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
    )
    batch = torch.ones(2, 64, 4, 4)
    prepared = calibrated(capture(network, (64, 4, 4)), quantizer, batch)
    _, engine = build(prepared, tmp_path, (64, 4, 4))
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    assert np.abs(got - prepared(batch).detach().numpy()).max() < 0.02 * np.abs(got).max()


def test_a_broken_file_is_a_stage_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(StageError, match=r"broken\.onnx"):
        TARGET.build(tmp_path / "broken.onnx", tmp_path, OnnxRuntimeOptions())
