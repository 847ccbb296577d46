"""The Python interface, from an eager network to a Q/DQ file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from oracles.networks import INPUT_SHAPE, make_batch, make_network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from harness.errors import DataError, StageError, Undeployable, UsageError
from harness.quantization import prepared as quantized
from harness.quantization.tensor_quantizer import WeightQuantizer
from harness.supergradients.calibration import QuantizationCalibrator
from harness.supergradients.export import export_quantized_module_to_onnx
from harness.supergradients.selective import (
    QuantDescriptor,
    QuantizedMetadata,
    QuantizedNetwork,
    ReplacementAction,
    SelectiveQuantizer,
    SkipQuantization,
)


def quantizer(**options: object) -> SelectiveQuantizer:
    return SelectiveQuantizer(**{"verbose": False} | options)


def quantize(name: str = "residual", **options: object) -> QuantizedNetwork:
    return quantizer(**options).quantize_module(make_network(name), input_shape=INPUT_SHAPE)


def calibrate(network: QuantizedNetwork, **options: object) -> QuantizedNetwork:
    QuantizationCalibrator(verbose=False).calibrate_model(network, [make_batch()], **options)
    return network


def weights(network: QuantizedNetwork) -> dict[str, WeightQuantizer]:
    found = quantized.tensor_quantizers(network.prepared)
    return {q.name: q for q in found if isinstance(q, WeightQuantizer)}


def activations(network: QuantizedNetwork) -> dict[str, quantized.TensorQuantizer]:
    return {name: q for q in quantized.activation_quantizers(network.prepared) for name in q.names}


class CountingLoader:
    """Counts the batches that were taken from it."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.taken = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        for seed in range(self.batches):
            self.taken += 1
            yield make_batch(8, seed)


class TestQuantizeModule:
    def test_the_callers_model_is_not_modified_and_the_result_computes_in_float_until_it_is_calibrated(self) -> None:
        model = make_network("residual")
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        network = quantizer().quantize_module(model, input_shape=INPUT_SHAPE)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert not network.is_calibrated
        torch.testing.assert_close(network(make_batch(3)), model(make_batch(3)), rtol=1e-4, atol=1e-5)

    def test_everything_is_quantized_unless_skipped(self) -> None:
        assert weights(quantize()).keys() == {"stem.0.weight", "conv1.0.weight", "conv2.0.weight", "head.weight"}

    @pytest.mark.thorough(keep=3)
    @pytest.mark.parametrize(
        ("skipped", "left"),
        [
            ({"stem", "conv1.0"}, {"conv2.0.weight", "head.weight"}),
            ({nn.Linear}, {"stem.0.weight", "conv1.0.weight", "conv2.0.weight"}),
            ({"conv*"}, {"stem.0.weight", "head.weight"}),
            ({"re:conv[12]"}, {"stem.0.weight", "head.weight"}),
            ({nn.BatchNorm2d}, {"stem.0.weight", "conv1.0.weight", "conv2.0.weight", "head.weight"}),  # folded
            ("head", {"stem.0.weight", "conv1.0.weight", "conv2.0.weight"}),
        ],
    )
    def test_skipping_by_name_glob_expression_and_type(self, skipped: object, left: set[str]) -> None:
        selective = quantizer()
        selective.register_skip_quantization(layer_names=skipped)
        assert weights(selective.quantize_module(make_network("residual"), INPUT_SHAPE)).keys() == left

    def test_a_name_that_matches_nothing_is_an_error(self) -> None:
        selective = quantizer()
        selective.register_skip_quantization(layer_names={"conv3"})
        with pytest.raises(UsageError, match="unknown module `conv3`"):
            selective.quantize_module(make_network("residual"), INPUT_SHAPE)

    def test_skipping_everything_is_an_error(self) -> None:
        selective = quantizer()
        selective.register_skip_quantization(layer_names={nn.Flatten, nn.Linear})
        with pytest.raises(UsageError, match="nothing is left to quantize"):
            selective.quantize_module(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), INPUT_SHAPE)

    def test_a_wrapper_in_the_model_skips(self) -> None:
        model = make_network("residual")
        model.conv1 = SkipQuantization(model.conv1)
        network = quantizer().quantize_module(model, INPUT_SHAPE)
        assert weights(network).keys() == {"stem.0.weight", "conv2.0.weight", "head.weight"}

    def test_a_counterpart_takes_the_place_of_its_module(self) -> None:
        class Halved(nn.Sequential):
            @classmethod
            def from_float(cls, module: nn.Sequential) -> Halved:
                return cls(*module)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return super().forward(x) / 2

        model = make_network("residual")
        selective = quantizer()
        selective.register_quantization_mapping(layer_names={"stem"}, quantized_target_class=Halved)
        network = selective.quantize_module(model, INPUT_SHAPE)
        model.stem = Halved(*model.stem)
        torch.testing.assert_close(network(make_batch(3)), model(make_batch(3)), rtol=1e-4, atol=1e-5)

    def test_custom_mappings_are_instructions(self) -> None:
        skip = QuantizedMetadata("", action=ReplacementAction.SKIP)
        network = quantize(custom_mappings={"head": skip})
        assert "head.weight" not in weights(network)

    def test_the_default_granularity_of_weights(self) -> None:
        axes = {q.ch_axis for q in weights(quantize(default_per_channel_quant_weights=True)).values()}
        assert axes == {0}
        axes = {q.ch_axis for q in weights(quantize(default_per_channel_quant_weights=False)).values()}
        assert axes == {-1}

    @pytest.mark.parametrize(
        ("options", "message", "fix"),
        [
            ({"default_quant_modules_calibrator_inputs": "histgram"}, "unknown", "did you mean `histogram`?"),
            ({"default_quant_modules_calibrator_weights": "mse"}, "unknown", "write `histogram` here"),
            ({"target": "onnxrutime"}, "unknown target", "did you mean `onnxruntime`?"),
        ],
    )
    def test_unknown_names_are_refused(self, options: dict[str, str], message: str, fix: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            quantizer(**options)
        assert str(caught.value.fix).startswith(fix)

    def test_verbose_tells_what_was_quantized(self, capsys: pytest.CaptureFixture[str]) -> None:
        selective = quantizer(verbose=True)
        selective.register_skip_quantization(layer_names={"head"})
        selective.quantize_module(make_network("residual"), INPUT_SHAPE)
        line = capsys.readouterr().err.strip()
        assert line.startswith("quantized for onnxruntime: 3 weights, ")
        assert line.endswith("; not quantized: head")


class TestDescriptors:
    def test_of_a_mapping_by_type_and_by_name(self) -> None:
        selective = quantizer()
        selective.register_quantization_mapping(
            layer_names={nn.Conv2d}, weights_quant_descriptor=QuantDescriptor(axis=None)
        )
        selective.register_quantization_mapping(
            layer_names={"conv1.0"}, weights_quant_descriptor=QuantDescriptor(num_bits=4, axis=0)
        )
        found = weights(selective.quantize_module(make_network("residual"), INPUT_SHAPE))
        granularity = {name: (q.integer.bits, q.ch_axis) for name, q in found.items()}
        assert granularity == {
            "stem.0.weight": (8, -1),
            "conv1.0.weight": (4, 0),
            "conv2.0.weight": (8, -1),
            "head.weight": (8, 0),
        }

    def test_a_fixed_range_needs_no_calibration_data(self) -> None:
        selective = quantizer()
        selective.register_quantization_mapping(
            layer_names={"stem"}, input_quant_descriptor=QuantDescriptor(amax=2.0, scale_amax=1.5)
        )
        network = calibrate(selective.quantize_module(make_network("residual"), INPUT_SHAPE))
        # [-2, 2] times 1.5 in 255 steps
        assert float(activations(network)["x"].scale) == pytest.approx(6 / 255)

    def test_what_the_target_cannot_deploy_is_refused_with_the_place(self) -> None:
        selective = quantizer()
        selective.register_quantization_mapping(
            layer_names={"stem"}, weights_quant_descriptor=QuantDescriptor(unsigned=True)
        )
        with pytest.raises(Undeployable, match="`unsigned` of the weight descriptor of `stem`"):
            selective.quantize_module(make_network("residual"), INPUT_SHAPE)


class TestCalibration:
    @pytest.mark.parametrize(("there", "wanted", "taken"), [(5, 3, 3), (2, 3, 2), (1, 1, 1)])
    def test_exactly_the_wanted_number_of_batches_is_read(self, there: int, wanted: int, taken: int) -> None:
        loader = CountingLoader(there)
        calibrator = QuantizationCalibrator(verbose=False)
        assert calibrator.calibrate_model(quantize(), loader, num_calib_batches=wanted) == taken
        assert loader.taken == taken

    @pytest.mark.parametrize("batch_size", [16, 64])
    def test_a_standard_loader_of_inputs_and_targets_gives_the_ranges_of_its_inputs(self, batch_size: int) -> None:
        loader = DataLoader(TensorDataset(make_batch(64), torch.zeros(64)), batch_size=batch_size)
        network = quantize(default_quant_modules_calibrator_inputs="max")
        QuantizationCalibrator(verbose=False).calibrate_model(network, loader)
        x = make_batch(64)
        assert float(activations(network)["x"].scale) == pytest.approx(float(x.max() - x.min()) / 255)

    def test_the_method_serves_the_tensors_whose_calibrator_is_histogram(self) -> None:
        ranges = {}
        for kind in ("max", "histogram"):
            network = calibrate(quantize(default_quant_modules_calibrator_inputs=kind), percentile=90.0)
            ranges[kind] = float(activations(network)["x"].scale)
        assert ranges["histogram"] < 0.7 * ranges["max"]  # of a normal distribution, 90 % lie within 1.64 of 4

    @pytest.mark.thorough(keep=2)
    @pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse"])
    def test_weights_follow_the_method_when_their_calibrator_is_histogram(self, method: str) -> None:
        network = calibrate(quantize(default_quant_modules_calibrator_weights="histogram"), method=method)
        assert {q.calibrator.name for q in weights(network).values()} == {method}
        assert {q.calibrator.name for q in weights(calibrate(quantize(), method=method)).values()} == {"max"}

    def test_a_descriptor_decides_the_calibrator_of_its_tensor(self) -> None:
        selective = quantizer(default_quant_modules_calibrator_inputs="max")
        selective.register_quantization_mapping(
            layer_names={"stem"},
            input_quant_descriptor=QuantDescriptor(calib_method="histogram"),
            weights_quant_descriptor=QuantDescriptor(calib_method="histogram"),
        )
        network = calibrate(selective.quantize_module(make_network("residual"), INPUT_SHAPE), percentile=90.0)
        of_max = calibrate(quantize(default_quant_modules_calibrator_inputs="max"))
        scale, largest = (float(activations(n)["x"].scale) for n in (network, of_max))
        assert scale < 0.7 * largest
        assert {name: q.calibrator.name for name, q in weights(network).items()} == {
            "stem.0.weight": "percentile",
            "conv1.0.weight": "max",
            "conv2.0.weight": "max",
            "head.weight": "max",
        }

    def test_calibrating_again_starts_anew(self) -> None:
        network = quantize(default_quant_modules_calibrator_inputs="max")
        calibrator = QuantizationCalibrator(verbose=False)
        calibrator.calibrate_model(network, [100 * make_batch()])
        calibrator.calibrate_model(network, [make_batch()])
        once = calibrate(quantize(default_quant_modules_calibrator_inputs="max"))
        scales = [{name: float(q.scale) for name, q in activations(n).items()} for n in (network, once)]
        assert scales[0] == scales[1]

    def test_verbose_prints_every_range_and_that_the_loader_was_short(self, capsys: pytest.CaptureFixture[str]) -> None:
        network = quantize()
        QuantizationCalibrator(verbose=True).calibrate_model(network, [make_batch()], num_calib_batches=4)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "calibrated on 1 batches (the loader has no more; 4 were asked for)"
        assert len(lines) == 1 + len(quantized.activation_quantizers(network.prepared))

    @pytest.mark.thorough(keep=3)
    @pytest.mark.parametrize(
        ("loader", "options", "message"),
        [
            ([], {}, "gave no batch"),
            (["text"], {}, "the calibration loader gave str"),
            ([torch.zeros(2, 1, 16, 16)], {}, r"takes inputs \(N, 3, 16, 16\), not \(2, 1, 16, 16\)"),
            ([make_batch()], {"method": "percentil"}, "unknown calibrator `percentil`"),
            ([make_batch()], {"percentile": 101.0}, "`percentile` is 101"),
            ([make_batch()], {"num_calib_batches": 0}, "`num_calib_batches` is 0"),
        ],
    )
    def test_what_cannot_calibrate_is_refused(self, loader: list, options: dict, message: str) -> None:
        with pytest.raises((DataError, UsageError), match=message):
            QuantizationCalibrator(verbose=False).calibrate_model(quantize(), loader, **options)

    def test_a_float_model_is_refused_with_the_way_to_quantize_it(self) -> None:
        with pytest.raises(UsageError, match="Residual is not quantized") as caught:
            QuantizationCalibrator(verbose=False).calibrate_model(make_network("residual"), [make_batch()])
        assert "quantize_module" in str(caught.value.fix)


class TestNetwork:
    def test_it_trains_and_its_modes_can_be_set(self) -> None:
        network = calibrate(quantize()).train()
        assert network.training
        network(make_batch(4)).sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert not network.eval().training

    def test_saved_and_loaded_it_computes_the_same(self, tmp_path: Path) -> None:
        network = calibrate(quantize())
        network.save(tmp_path / "q.safetensors")
        other = quantize()
        other.load(tmp_path / "q.safetensors")
        assert other.is_calibrated
        assert torch.equal(other(make_batch(5)), network(make_batch(5)))

    def test_an_uncalibrated_network_is_neither_saved_nor_exported(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match="not calibrated"):
            quantize().save(tmp_path / "q.safetensors")
        with pytest.raises(StageError, match="not calibrated"):
            export_quantized_module_to_onnx(quantize(), tmp_path / "q.onnx")
        assert list(tmp_path.iterdir()) == []


class TestExport:
    def test_the_file_computes_what_the_network_computes(self, tmp_path: Path) -> None:
        network = calibrate(quantize())
        path = export_quantized_module_to_onnx(
            model=network.cpu(),
            onnx_filename=str(tmp_path / "q.onnx"),
            input_shape=[1, *INPUT_SHAPE],
            input_size=[1, *INPUT_SHAPE],
            train=False,
        )
        operators = {node.op_type for node in onnx.load(path).graph.node}
        assert {"QuantizeLinear", "DequantizeLinear"} <= operators
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (outputs,) = session.run(None, {"input": make_batch(16).numpy()})
        expected = network(make_batch(16)).detach().numpy()
        assert (outputs.argmax(1) == expected.argmax(1)).mean() >= 15 / 16
        assert np.abs(outputs - expected).mean() < 0.1 * np.abs(expected).mean()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"input_shape": [1, 3, 224, 224]}, r"`input_shape` \[1, 3, 224, 224\] does not fit the network"),
            ({"input_size": [3, 16, 16]}, "`input_size`"),
            ({"train": True}, "`train=True`"),
        ],
    )
    def test_arguments_that_do_not_fit_are_refused(self, tmp_path: Path, options: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            export_quantized_module_to_onnx(calibrate(quantize()), tmp_path / "q.onnx", **options)
