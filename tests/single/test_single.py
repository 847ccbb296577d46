"""One network from quantize to audit: it computes what the pieces of a scenario compute, and bad input is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from oracles.engines import build as oracle_build
from oracles.engines import calibrated
from oracles.networks import INPUT_SHAPE, Residual, captured, make_batch, make_network
from torch import nn

import harness
from harness.errors import DataError, HarnessError, ModelError, StageError, UsageError
from harness.quantization.calibrators import make_calibrator
from harness.quantization.network import QuantizedNetwork
from harness.quantization.placement.rules import RuleSet
from harness.single import export as exporting
from harness.targets import get_target

TARGET = "onnxruntime"


@pytest.fixture(scope="module")
def quantized() -> QuantizedNetwork:
    return harness.quantize(make_network("residual"), TARGET, make_batch(), calibrator="max")


@pytest.fixture(scope="module")
def onnx_file(quantized: QuantizedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.export(quantized, tmp_path_factory.mktemp("single") / "network.onnx")


def test_the_network_is_that_of_the_stages(quantized: QuantizedNetwork, onnx_file: Path, tmp_path: Path) -> None:
    target = get_target(TARGET)
    quantizer = target.quantizer(
        target.number_format(8, 8), per_channel=True, weight_calibrator=make_calibrator("max"), rules=RuleSet()
    )
    expected = calibrated(captured("residual"), quantizer, make_batch())
    batch = make_batch()
    assert torch.equal(quantized(batch), expected(batch))
    assert onnx_file.read_bytes() == oracle_build(expected, tmp_path)[0].read_bytes()


def test_the_steps_were_checked_and_the_float_network_is_kept(quantized: QuantizedNetwork) -> None:
    assert quantized.input_shape == INPUT_SHAPE
    assert [check.step for check in quantized.origin.checks] == ["eager → captured", "captured → prepared"]
    batch = make_batch()
    assert torch.allclose(quantized.float_graph(batch), make_network("residual")(batch), atol=1e-5)
    assert not torch.equal(quantized.float_graph(batch), quantized(batch))
    trained = {id(parameter) for parameter in quantized.parameters()}
    assert trained.isdisjoint(map(id, quantized.float_graph.parameters()))


def test_the_engine_computes_what_the_network_computes(quantized: QuantizedNetwork, onnx_file: Path) -> None:
    engine = harness.build(onnx_file, TARGET, samples=make_batch())
    assert engine.check is not None and engine.check.step == "ONNX → engine"
    assert engine.path == onnx_file.with_name("network.onnxruntime.engine.onnx")
    assert engine.coverage is not None and engine.coverage.int8_macs == 1.0
    batch = make_batch()[:2]
    expected, got = quantized(batch).detach().numpy(), engine.run(batch)
    assert np.abs(expected - got).max() < 0.05 * np.abs(expected).max()
    assert harness.audit(engine) == harness.audit(engine.path) == harness.audit(onnx_file, TARGET)


def test_a_float_network_is_exported_too(tmp_path: Path) -> None:
    eager = make_network("residual").train()
    path = harness.export(eager, str(tmp_path / "new" / "float.onnx"), input_shape=INPUT_SHAPE)
    assert eager.training
    engine = harness.build(path, TARGET, out=tmp_path / "float.engine.onnx")
    batch = make_batch()[:2]
    assert np.allclose(engine.run(batch), eager.eval()(batch).detach(), atol=1e-4)
    assert engine.coverage is not None and engine.coverage.int8_macs == 0.0


@pytest.mark.parametrize("form", ["loader", "pairs", "iterator", "integers"])
def test_calibration_data_comes_in_several_forms(form: str) -> None:
    batch = (make_batch() * 10).round()

    def pairs() -> Iterator[tuple[torch.Tensor, int]]:
        yield from ((part, 0) for part in batch.split(5))

    data = {"loader": batch.split(3), "pairs": list(pairs()), "iterator": pairs(), "integers": batch.to(torch.int32)}
    expected = harness.quantize(make_network("residual"), TARGET, batch, check=False)
    got = harness.quantize(make_network("residual"), TARGET, data[form], check=False)
    assert torch.equal(got(batch), expected(batch))


def test_settings_reach_the_network() -> None:
    batch = make_batch()

    def levels(**settings: object) -> tuple[set[int], torch.Tensor]:
        found = harness.quantize(make_network("residual"), TARGET, batch, check=False, **settings)
        weights = [module for module in found.modules() if hasattr(module, "ch_axis") and "weight" in module.name]
        return {module.ch_axis for module in weights}, found(batch)

    axes, usual = levels()
    assert axes == {0}
    assert levels(per_channel=False)[0] == {-1}
    for settings in (
        {"calibrator": "max"},
        {"percentile": 90.0},
        {"weight_bits": 4},
        {"activation_bits": 16},
        {"skip": "conv1"},
        {"rules": [{"modules": ["conv1"], "weight": {"num_bits": 4}}]},
        {"ptq_steps": "bias_correction"},
    ):
        assert not torch.equal(levels(**settings)[1], usual), settings


class Stub(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Random(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, training=True))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"model": "resnet"}, UsageError, "str is not a torch.nn.Module"),
        ({"model": Stub()}, ModelError, "torch.export cannot capture Stub"),
        ({"model": Random()}, StageError, "different outputs for the same input"),
        ({"target": "onnxruntim"}, UsageError, "did you mean `onnxruntime`"),
        ({"calibration_data": []}, DataError, "holds nothing"),
        ({"calibration_data": 3}, DataError, "`calibration_data` is int"),
        ({"calibration_data": torch.zeros(())}, DataError, "holds a tensor ()"),
        ({"calibration_data": ["a.png"]}, DataError, "the calibration loader gave str"),
        ({"calibration_data": [make_batch(), make_batch()[..., :8]]}, DataError, "the network takes inputs"),
        ({"calibrator": "maximum"}, UsageError, "unknown calibrator `maximum`"),
        ({"percentile": 0.0}, UsageError, "`percentile` is 0"),
        ({"skip": ["conv3"]}, UsageError, "unknown module `conv3`"),
        ({"rules": [{"moduls": ["conv1"]}]}, UsageError, "of a rule"),
        ({"ptq_steps": ["bias_corection"]}, UsageError, "did you mean `bias_correction`"),
        ({"skip": ["*"]}, UsageError, "nothing is left to quantize"),
    ],
)
def test_bad_input_has_a_message_with_a_fix(change: dict[str, object], kind: type[HarnessError], words: str) -> None:
    usual = {"model": make_network("residual"), "target": TARGET, "calibration_data": make_batch()}
    with pytest.raises(kind) as raised:
        harness.quantize(**usual | change)
    assert words in str(raised.value)
    assert raised.value.fix


def test_a_file_that_computes_something_else_is_not_written(
    quantized: QuantizedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exporting.export_onnx

    def wrong(graph, shape, path, *, integer_biases):
        right(graph, shape, path, integer_biases=integer_biases)
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8:
                tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
        onnx.save(model, path)

    monkeypatch.setattr(exporting, "export_onnx", wrong)
    with pytest.raises(StageError, match="fake-quantized → Q/DQ ONNX"):
        harness.export(quantized, tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()
    assert harness.export(quantized, tmp_path / "wrong.onnx", check=False).exists()


def test_what_cannot_be_exported_or_built_says_why(quantized: QuantizedNetwork, onnx_file: Path, tmp_path: Path):
    for call, words in (
        (lambda: harness.export(make_network("residual"), tmp_path / "a.onnx"), "input_shape=(C, H, W)"),
        (
            lambda: harness.export(quantized, tmp_path / "a.onnx", input_shape=(1, 8, 8)),
            "the sizes of the inputs differ",
        ),
        (lambda: harness.export(quantized, tmp_path / "a.onnx", target="tensorrt"), "quantized for onnxruntime"),
        (lambda: harness.export(quantized, tmp_path), "cannot write"),
        (lambda: harness.build(tmp_path / "none.onnx", TARGET), "there is no file"),
        (lambda: harness.build(onnx_file, TARGET, workspace_mib=1), "has no option `workspace_mib`"),
        (lambda: harness.build(onnx_file, TARGET, out=onnx_file), "give `out` another file"),
        (lambda: harness.build(onnx_file, TARGET, samples=np.zeros((2, 1, 4, 4))), "the network takes Nx3x16x16"),
        (lambda: harness.audit(tmp_path / "none.engine"), "there is no file"),
    ):
        with pytest.raises(UsageError) as raised:
            call()
        assert words in str(raised.value)
    assert not (tmp_path / "a.onnx").exists()
