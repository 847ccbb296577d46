"""PTQ steps: the contract that all of them keep, and the known answers of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from oracles.networks import INPUT_SHAPE, captured, make_batch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.fx import GraphModule

import harness
from harness.errors import UsageError
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.ptq import node_by_node
from harness.quantization.ptq.base import CalibratedStep
from harness.quantization.ptq.layers import bias_of, convolution_arguments, layer_nodes, quantized_layers, weight_of
from harness.quantization.ptq.steps import (
    before_calibration,
    change_weights,
    correct,
    get_ptq_step,
    ptq_steps,
    weight_rounding,
)
from harness.quantization.settings import PtqSteps, ptq_step_names
from harness.targets import get_target

TARGET = get_target("onnxruntime")
N_SAMPLES = 64


def quantizer(per_channel: bool = True, weight_bits: int = 8, skip: tuple[str, ...] = ()):
    number_format = TARGET.number_format(weight_bits, 8)
    rules = RuleSet(skip=skip)
    return TARGET.quantizer(
        number_format, per_channel=per_channel, weight_calibrator=make_calibrator("max"), rules=rules
    )


def ptq(graph: GraphModule, steps: tuple[str, ...], data: torch.Tensor, batch_size: int = 32, **options) -> GraphModule:
    """The whole of PTQ: steps, calibration and steps, from one tensor of samples."""
    changed, _ = change_weights(graph, steps)
    prepared = quantized.prepare(changed, quantizer(**options))
    quantized.collect(prepared, data)
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    correct(prepared, steps, lambda: iter(data.split(batch_size)))
    return prepared


def biases(network: GraphModule) -> dict[str, torch.Tensor]:
    found = ((layer.name, bias_of(network, layer)) for layer in layer_nodes(network))
    return {name: bias.detach().clone() for name, bias in found if bias is not None}


def parameters(network: GraphModule) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def mean_error(prepared: GraphModule, reference: nn.Module, data: torch.Tensor) -> float:
    """Largest |mean over samples of (output - FP32 output)| over the output channels."""
    with torch.no_grad():
        return float((prepared(data) - reference(data)).mean(0).abs().max())


class Deep(nn.Module):
    """Six layers whose weights all round the same way at 4 bits, so that errors of the mean add up."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1, bias=i % 2 == 0) for i in range(6))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def deep() -> GraphModule:
    return capture(Deep(), INPUT_SHAPE)


class TestContract:
    """Every step, also one that is added later as a file."""

    @pytest.fixture(params=sorted(ptq_steps()))
    def name(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.mark.parametrize("network", ["residual", "depthwise"])
    def test_the_callers_graph_is_not_modified(self, name: str, network: str) -> None:
        before, code = parameters(captured(network)), captured(network).code
        ptq(captured(network), (name,), make_batch(N_SAMPLES))
        assert captured(network).code == code
        assert before.keys() == parameters(captured(network)).keys()
        assert all(torch.equal(after, before[key]) for key, after in parameters(captured(network)).items())

    def test_equal_inputs_give_equal_networks(self, name: str) -> None:
        once, again = (parameters(ptq(captured("depthwise"), (name,), make_batch(N_SAMPLES))) for _ in range(2))
        assert all(torch.equal(once[key], again[key]) for key in once)

    @pytest.mark.parametrize("batch_size", [1, 7, N_SAMPLES])
    def test_neither_batch_size_nor_order_matters_beyond_rounding(self, name: str, batch_size: int) -> None:
        data = make_batch(N_SAMPLES)
        wanted = parameters(ptq(captured("depthwise"), (name,), data))
        reordered = data.flip(0)
        for key, found in parameters(ptq(captured("depthwise"), (name,), reordered, batch_size)).items():
            # Float sums in another order may move single activations across a rounding boundary.
            torch.testing.assert_close(found, wanted[key], rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("network", ["residual", "depthwise", "concat"])
    @pytest.mark.thorough(keep=1)
    def test_the_engine_stays_on_integers(self, name: str, network: str, tmp_path: Path) -> None:
        prepared = ptq(captured(network), (name,), make_batch(N_SAMPLES))
        path = tmp_path / "model.onnx"
        export_onnx(quantized.convert(prepared), INPUT_SHAPE, path, integer_biases=True)
        engine = TARGET.build(path, tmp_path, TARGET.options_from({}))
        weighted = [layer for layer in TARGET.audit(engine.path, path) if layer.weight_type is not None]
        assert weighted
        assert [layer.name for layer in weighted if not layer.int8] == []

    def test_state_files_hold_all_of_it(self, name: str, tmp_path: Path) -> None:
        prepared = ptq(captured("depthwise"), (name,), make_batch(N_SAMPLES))
        quantized.save_state(prepared, tmp_path / "state.safetensors")
        other = quantized.prepare(change_weights(captured("depthwise"), (name,))[0], quantizer())
        quantized.load_state(other, tmp_path / "state.safetensors")
        assert torch.equal(other(make_batch(8)), prepared(make_batch(8)))

    @pytest.mark.parametrize("name", sorted(n for n, s in ptq_steps().items() if isinstance(s, CalibratedStep)))
    def test_skipped_layers_keep_their_weights(self, name: str) -> None:
        prepared = ptq(captured("residual"), (name,), make_batch(N_SAMPLES), skip=("conv2",))
        before = parameters(captured("residual"))
        kept = {key for key, found in parameters(prepared).items() if torch.equal(found, before[key])}
        assert {key for key in kept if key.startswith("conv2")} == {key for key in before if key.startswith("conv2")}

    def test_the_name_is_the_files(self, name: str) -> None:
        assert name in ptq_step_names()

    def test_the_network_comes_out_fake_quantizing(self, name: str) -> None:
        prepared = ptq(captured("residual"), (name,), make_batch(N_SAMPLES))
        assert {module.mode for module in quantized.tensor_quantizers(prepared)} == {"quantize"}


def test_names_are_files_and_steps_alike() -> None:
    assert set(ptq_step_names()) == set(ptq_steps())


def test_an_unknown_step_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        get_ptq_step("bias_corection")
    assert caught.value.fix == "did you mean `bias_correction`?"


def test_calibration_depends_on_the_steps_that_need_no_data_alone() -> None:
    names = ("sequential_bias_correction", "cross_layer_equalization")
    assert before_calibration(names) == ("cross_layer_equalization",)


def test_no_steps_are_the_same_network() -> None:
    network = captured("residual")
    assert change_weights(network, ()) == (network, [])


@pytest.mark.parametrize("step", ["bias_correction", "sequential_bias_correction"])
def test_the_shift_of_a_rounded_weight_is_recovered_exactly(step: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.27, 0.004]]))
    # The largest weight is 127 steps of 0.01, so 0.004 rounds to 0. The input 1.0 is 255 steps of 1 / 255, exact.
    # The layer loses 0.004 on every sample: that is what its new bias must be.
    prepared = ptq(capture(network, (2, 1, 1)), (step,), torch.ones(10, 2, 1, 1))
    (bias,) = biases(prepared).values()
    assert float(bias) == pytest.approx(0.004, abs=1e-6)
    assert float(prepared(torch.ones(1, 2, 1, 1)).detach()) == pytest.approx(1.274, abs=1e-6)


def test_both_corrections_of_one_layer_agree() -> None:
    network = capture(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)), INPUT_SHAPE)
    data = make_batch(N_SAMPLES)
    one_pass, sequential = (
        biases(ptq(network, (step,), data, weight_bits=4)) for step in ("bias_correction", "sequential_bias_correction")
    )
    for name, bias in one_pass.items():
        torch.testing.assert_close(bias, sequential[name], rtol=0, atol=1e-5)


def test_in_a_deep_network_sequential_correction_leaves_the_smaller_error(deep: GraphModule) -> None:
    data = make_batch(N_SAMPLES)
    none, one_pass, sequential = (
        ptq(deep, steps, data, weight_bits=3) for steps in ((), ("bias_correction",), ("sequential_bias_correction",))
    )
    last = biases(one_pass)["linear"] - biases(sequential)["linear"]
    assert float(last.abs().max()) > 1e-4
    errors = [mean_error(prepared, deep, data) for prepared in (none, one_pass, sequential)]
    assert errors[2] < errors[1] < errors[0]
    # The last layer sees corrected predecessors and is corrected itself: nothing of the mean error is left.
    assert errors[2] < 1e-5


def test_layers_without_a_bias_get_one(deep: GraphModule) -> None:
    assert len(biases(deep)) == 4  # every other of six convolutions, and the head
    prepared = ptq(deep, ("bias_correction",), make_batch(N_SAMPLES))
    assert len(biases(prepared)) == 7


def test_reestimation_restores_mean_and_deviation_of_every_former_batch_norm() -> None:
    data = make_batch(N_SAMPLES)
    prepared = ptq(captured("depthwise"), ("batch_norm_reestimation",), data, weight_bits=5)
    layers = [layer for layer in quantized_layers(prepared) if layer.target is torch.ops.aten.conv2d.default]
    assert len(layers) == 3
    seen = {}

    def record(mode: str) -> None:
        quantized.set_mode(prepared, mode)

        def keep(layer, _arguments, output) -> None:
            seen[layer, mode] = output

        node_by_node.watch(prepared, lambda: iter([data]), layers, keep)

    record("quantize")
    found = {layer: seen[layer, "quantize"] for layer in layers}
    reference = captured("depthwise")
    for layer, original in zip(layers, layer_nodes(reference), strict=False):
        node_by_node.watch(reference, lambda: iter([data]), [original], lambda _l, _a, output: seen.update(fp32=output))
        wanted = seen["fp32"]
        torch.testing.assert_close(found[layer].mean((0, 2, 3)), wanted.mean((0, 2, 3)), rtol=0, atol=2e-3)
        torch.testing.assert_close(found[layer].std((0, 2, 3)), wanted.std((0, 2, 3)), rtol=0.02, atol=0)


class TestWeightRounding:
    NAME = "weight_rounding"

    @staticmethod
    def linear(weights: list[float]) -> GraphModule:
        network = nn.Sequential(nn.Flatten(), nn.Linear(len(weights), 1))
        with torch.no_grad():
            network[1].weight.copy_(torch.tensor([weights]))
            network[1].bias.zero_()
        return capture(network, (len(weights), 1, 1))

    @staticmethod
    def integers(prepared: GraphModule) -> list[float]:
        (layer,) = quantized_layers(prepared)
        return weight_of(prepared, layer).detach().flatten().round(decimals=3).tolist()

    def test_inputs_that_go_together_share_their_error(self) -> None:
        # Steps of 1. Inputs 2 and 3 are equal: 0.4 + 0.4 is 0 + 1 rather than 0 + 0.
        x = torch.rand(200, 3, 1, 1, generator=torch.Generator().manual_seed(0))
        x[:, 2] = x[:, 1]
        assert self.integers(ptq(self.linear([127.0, 0.4, 0.4]), (self.NAME,), x)) == [127.0, 0.0, 1.0]

    def test_inputs_that_have_nothing_in_common_are_rounded_to_nearest(self) -> None:
        x = torch.eye(3).repeat(50, 1).reshape(-1, 3, 1, 1)
        assert self.integers(ptq(self.linear([127.0, 0.4, 0.6]), (self.NAME,), x)) == [127.0, 0.0, 1.0]

    @pytest.mark.parametrize("per_channel", [True, False])
    @pytest.mark.parametrize("network", ["depthwise", "grouped", "concat"])
    def test_fewer_bits_lose_less(self, network: str, per_channel: bool) -> None:
        data, reference = make_batch(N_SAMPLES), captured(network)
        options = {"weight_bits": 3, "per_channel": per_channel}
        nearest, rounded = (ptq(reference, steps, data, **options) for steps in ((), (self.NAME,)))
        wanted = reference(data)
        errors = [float((prepared(data) - wanted).square().mean().detach()) for prepared in (nearest, rounded)]
        assert errors[1] < 0.8 * errors[0]

    def test_block_of_columns_and_single_columns_agree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.manual_seed(0)
        x = torch.randn(500, 20, dtype=torch.float64) @ torch.randn(20, 20, dtype=torch.float64)
        rows, scales = torch.randn(1, 4, 20, dtype=torch.float64), torch.full((1, 4), 0.3, dtype=torch.float64)
        moments = (x.T @ x / len(x)).unsqueeze(0)
        whole = weight_rounding.round_with_feedback(rows, moments, scales, -7, 7)
        monkeypatch.setattr(weight_rounding, "BLOCK", 3)
        assert torch.equal(weight_rounding.round_with_feedback(rows, moments, scales, -7, 7), whole)
        steps = whole / 0.3
        torch.testing.assert_close(steps, steps.round())

    def test_scales_stay_whatever_the_calibrator_of_weights_would_choose_now(self) -> None:
        data, reference = make_batch(N_SAMPLES), captured("residual")
        nearest, rounded = (ptq(reference, steps, data, weight_bits=4) for steps in ((), (self.NAME,)))
        nearest(data)
        for before, after in zip(
            quantized.weight_quantizers(nearest), quantized.weight_quantizers(rounded), strict=True
        ):
            torch.testing.assert_close(after.scale, before.scale)

    @pytest.mark.parametrize("per_channel", [True, False])
    def test_it_goes_with_reestimation(self, per_channel: bool) -> None:
        data, reference = make_batch(N_SAMPLES), captured("depthwise")
        steps = (self.NAME, "batch_norm_reestimation")
        none, both = (ptq(reference, names, data, weight_bits=4, per_channel=per_channel) for names in ((), steps))
        wanted = reference(data)
        errors = [float((prepared(data) - wanted).square().mean().detach()) for prepared in (none, both)]
        assert errors[1] < errors[0]

    @pytest.mark.parametrize("first", ["bias_correction", "sequential_bias_correction", "batch_norm_reestimation"])
    def test_it_is_refused_behind_what_it_would_undo(self, first: str) -> None:
        adapter = TypeAdapter(PtqSteps)
        assert adapter.validate_python([self.NAME, first]) == (self.NAME, first)
        with pytest.raises(ValidationError, match=f"`weight_rounding` undoes what `{first}` corrects: write it first"):
            adapter.validate_python([first, self.NAME])
        with pytest.raises(UsageError, match="write it first"):
            harness.quantize(nn.Conv2d(3, 4, 3), "onnxruntime", make_batch(4), ptq_steps=[first, self.NAME])

    @pytest.mark.parametrize(
        "padding", ["same", "valid", 1, (0, 2)], ids=["same", "valid", "number", "one number for each axis"]
    )
    @pytest.mark.parametrize("kernel", [3, (2, 4)], ids=["odd", "even"])
    def test_it_reads_what_the_convolution_reads(self, kernel, padding) -> None:
        torch.manual_seed(0)
        stride = 1 if padding == "same" else 2
        network = nn.Conv2d(4, 6, kernel, stride=stride, padding=padding, dilation=2, groups=2, bias=False)
        image = torch.randn(1, 4, 16, 16)
        graph = capture(nn.Sequential(network, nn.ReLU()).eval(), (4, 16, 16))
        (layer,) = layer_nodes(graph)
        arguments = convolution_arguments(layer, network.weight)
        assert arguments is not None
        patches = weight_rounding.read_by_convolution(image, network.weight, arguments)
        found = network.weight.reshape(2, 3, -1) @ patches
        torch.testing.assert_close(found.reshape(network(image).shape), network(image))

    def test_layers_that_cannot_be_rounded_are_told(self) -> None:
        shared = nn.Conv2d(3, 3, 3, padding=1)
        graph = capture(nn.Sequential(shared, nn.ReLU(), shared), INPUT_SHAPE)
        changed, _ = change_weights(graph, (self.NAME,))
        prepared = quantized.prepare(changed, quantizer())
        quantized.collect(prepared, make_batch(N_SAMPLES))
        quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
        notes = correct(prepared, (self.NAME,), lambda: iter([make_batch(N_SAMPLES)]))
        assert len(notes) == 1
        assert "rounded to nearest: shared weights" in notes[0]


class TestCrossLayerEqualization:
    NAME = "cross_layer_equalization"

    def test_two_layers_share_their_ranges(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1))
        with torch.no_grad():
            network[0].weight.copy_(torch.tensor([8.0, -0.5]).reshape(2, 1, 1, 1))
            network[0].bias.copy_(torch.tensor([4.0, 1.0]))
            network[2].weight.copy_(torch.tensor([0.5, 2.0]).reshape(1, 2, 1, 1))
        changed, notes = change_weights(capture(network, (1, 4, 4)), (self.NAME,))
        first, second = layer_nodes(changed)
        # sqrt(8 * 0.5) = 2 and sqrt(0.5 * 2) = 1; the first channel is divided by 4, the second by 1/2.
        assert weight_of(changed, first).flatten().tolist() == pytest.approx([2.0, -1.0])
        assert weight_of(changed, second).flatten().tolist() == pytest.approx([2.0, 1.0])
        assert biases(changed)[first.name].tolist() == pytest.approx([1.0, 2.0])
        assert notes == ["cross_layer_equalization equalized 1 pairs of layers"]

    def test_the_function_stays(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1, groups=4),
            nn.Conv2d(12, 6, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 5),
        )
        graph = capture(network, INPUT_SHAPE)
        changed, notes = change_weights(graph, (self.NAME,))
        assert notes == ["cross_layer_equalization equalized 4 pairs of layers"]
        assert not torch.equal(weight_of(changed, layer_nodes(changed)[0]), weight_of(graph, layer_nodes(graph)[0]))
        torch.testing.assert_close(changed(make_batch(8)), graph(make_batch(8)), rtol=1e-5, atol=1e-5)

    def test_a_depthwise_triple_ends_with_one_range(self) -> None:
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)]
        changed, _ = change_weights(capture(nn.Sequential(*layers), INPUT_SHAPE), (self.NAME,))
        expand, depthwise, project = (weight_of(changed, layer).detach().abs() for layer in layer_nodes(changed))
        ranges = [expand.amax((1, 2, 3)), depthwise.amax((1, 2, 3)), project.amax((0, 2, 3))]
        torch.testing.assert_close(ranges[0], ranges[1], rtol=1e-3, atol=0)
        torch.testing.assert_close(ranges[1], ranges[2], rtol=1e-3, atol=0)

    def test_pairs_with_relu6_between_are_left_out_and_told(self) -> None:
        graph = capture(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1)), INPUT_SHAPE)
        changed, notes = change_weights(graph, (self.NAME,))
        assert all(torch.equal(found, parameters(graph)[key]) for key, found in parameters(changed).items())
        assert "left out 1 pairs" in notes[-1]

    def test_relu6_replaced_first_lets_them_through(self) -> None:
        graph = capture(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1)), INPUT_SHAPE)
        _, notes = change_weights(graph, ("relu6_to_relu", self.NAME))
        assert notes == ["relu6_to_relu replaced 1 activations", "cross_layer_equalization equalized 1 pairs of layers"]

    def test_a_tensor_with_another_reader_is_left_alone(self) -> None:
        # In `residual` only conv1 -> conv2 has no other reader: the stem feeds the add too.
        changed, notes = change_weights(captured("residual"), (self.NAME,))
        assert notes[0] == "cross_layer_equalization equalized 1 pairs of layers"
        torch.testing.assert_close(changed(make_batch(8)), captured("residual")(make_batch(8)), rtol=1e-5, atol=1e-5)

    def test_dead_channels_stay_finite(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
        with torch.no_grad():
            network[0].weight[1] = 0.0
            network[2].weight[:, 2] = 0.0
        changed, _ = change_weights(capture(network, INPUT_SHAPE), (self.NAME,))
        assert all(torch.isfinite(found).all() for found in parameters(changed).values())


def test_samples_that_do_not_fit_into_memory_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # One sample of 3 x 16 x 16 floats beside 8 x 16 x 16 of the first layer, 16 x 16 x 4 bytes each: 11 KiB at least.
    monkeypatch.setattr(node_by_node, "MEMORY_BYTES", 10 * 40 * 1024)
    prepared = ptq(captured("residual"), (), make_batch(N_SAMPLES))
    notes = correct(prepared, ("sequential_bias_correction",), lambda: iter(make_batch(N_SAMPLES).split(16)))
    (note,) = notes
    taken = int(note.split("first ")[1].split(" of ")[0])
    assert 10 <= taken < N_SAMPLES


def test_one_pass_means_one(deep: GraphModule) -> None:
    prepared = ptq(change_weights(deep, ("bias_correction",))[0], (), make_batch(N_SAMPLES))
    for name, step in ptq_steps().items():
        passes = 0

        def batches() -> Iterator[torch.Tensor]:
            nonlocal passes
            passes += 1
            return iter(make_batch(N_SAMPLES).split(16))

        if isinstance(step, CalibratedStep):
            step.apply(prepared, batches)
            assert passes == 1, name


@pytest.mark.parametrize("step", ["sequential_bias_correction", "batch_norm_reestimation"])
def test_values_cut_off_by_the_range_are_no_mean_error(step: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 1)).eval()
    graph = capture(network, (1, 1, 1))
    changed, _ = change_weights(graph, (step,))
    prepared = quantized.prepare(changed, quantizer())
    # 199 ones and a single 1000: the percentile 99 cuts the range at about 1, where the ones have no error at all.
    data = torch.ones(200, 1, 1, 1)
    data[0] = 1000.0
    quantized.collect(prepared, data)
    calibrator = make_calibrator("percentile", percentile=99.0)
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), calibrator)
    before = biases(prepared)
    correct(prepared, (step,), lambda: iter(data.split(50)))
    # Without clipping the reference, E[y - y'] would be |w| 999 / 200 = 5 |w|.
    weight = float(weight_of(graph, layer_nodes(graph)[0]).abs().detach())
    for name, bias in biases(prepared).items():
        assert float((bias - before[name]).abs()) < 0.01 * max(weight, 1.0), name
