"""Capture, placement, ranges, conversion."""

from pathlib import Path

import pytest
import torch
from oracles.networks import INPUT_SHAPE, MIXED_NETWORKS, NETWORKS, captured, make_batch, make_network
from torch import nn

from harness.errors import ModelError, StageError, UsageError
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.capture.modules import matches_name as matches
from harness.quantization.capture.modules import module_path
from harness.quantization.placement.rules import RuleSet
from harness.targets import get_target


def make_quantizer(per_channel: bool = True, skip: tuple[str, ...] = (), weight_bits: int = 8):
    target = get_target("onnxruntime")
    return target.quantizer(
        target.number_format(weight_bits, 8),
        per_channel=per_channel,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet(skip=skip),
    )


def calibrated(name: str, **options):
    network = captured(name)
    prepared = quantized.prepare(network, make_quantizer(**options))
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("name", [*NETWORKS, *MIXED_NETWORKS])
def test_capture_folds_batch_norm_and_keeps_the_function(name: str) -> None:
    network = make_network(name)
    captured = capture(network, INPUT_SHAPE)
    assert not any("batch_norm" in str(node.target) for node in captured.graph.nodes)
    for n in (1, 7):  # any batch size
        torch.testing.assert_close(captured(make_batch(n)), network(make_batch(n)), rtol=1e-4, atol=1e-5)


def test_capture_leaves_the_callers_model_alone() -> None:
    network = make_network("residual").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    capture(network, INPUT_SHAPE)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_every_folded_weight_and_bias_can_train() -> None:
    captured = capture(make_network("residual"), INPUT_SHAPE)
    captured(make_batch(4)).sum().backward()
    missing = [name for name, parameter in captured.named_parameters() if parameter.grad is None]
    assert missing == []
    # 3 convolutions and 1 linear layer, each with weight and bias.
    assert len(list(captured.parameters())) == 8


def test_control_flow_on_data_is_refused_with_a_fix() -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match="cannot capture Branches") as caught:
        capture(Branches(), INPUT_SHAPE)
    assert caught.value.fix is not None


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_fake_quantization_stays_close_to_float(name: str, per_channel: bool) -> None:
    prepared = calibrated(name, per_channel=per_channel)
    reference = make_network(name)(make_batch(32, seed=2))
    noise = (prepared(make_batch(32, seed=2)) - reference).pow(2).mean()
    assert 10 * torch.log10(reference.pow(2).mean() / noise) > 20  # dB


def test_the_networks_output_is_never_quantized() -> None:
    prepared = calibrated("residual")
    (output,) = [node for node in prepared.graph.nodes if node.op == "output"]
    (logits,) = output.args[0]
    assert logits.target is torch.ops.aten.linear.default


def test_the_identity_branch_of_the_add_is_quantized() -> None:
    prepared = calibrated("residual")
    modules = dict(prepared.named_modules())
    (add,) = [node for node in prepared.graph.nodes if node.target is torch.ops.aten.add.Tensor]
    sources = [modules[str(arg.target)] for arg in add.args]
    assert all(isinstance(source, quantized.TensorQuantizer) for source in sources)


def test_affine_ranges_hold_zero_exactly_and_the_observed_extremes() -> None:
    prepared = calibrated("depthwise")
    for quantizer in quantized.activation_quantizers(prepared):
        scale, zero_point = float(quantizer.scale), int(quantizer.zero_point)
        low, high = -zero_point * scale, (255 - zero_point) * scale
        assert low <= 0 <= high
        assert low == pytest.approx(min(quantizer.histogram.minimum, 0), abs=0.51 * scale)
        assert high == pytest.approx(max(quantizer.histogram.maximum, 0), abs=0.51 * scale)


def test_relu_outputs_have_zero_point_zero() -> None:
    # ONNX Runtime absorbs a ReLU only into a convolution whose output has its zero point at the bottom.
    prepared = calibrated("residual")
    points = {q.name: int(q.zero_point) for q in quantized.activation_quantizers(prepared)}
    assert {point for name, point in points.items() if name.startswith("relu")} == {0}


def test_skipping_a_module_leaves_its_weight_in_float() -> None:
    prepared = calibrated("residual", skip=("conv1",))
    weights = {q.name for q in quantized.tensor_quantizers(prepared) if isinstance(q, quantized.WeightQuantizer)}
    assert weights == {"stem.0.weight", "conv2.0.weight", "head.weight"}


def test_skipping_a_type_leaves_all_of_its_modules_in_float() -> None:
    prepared = calibrated("residual", skip=("Linear",))
    weights = {q.name for q in quantized.tensor_quantizers(prepared) if isinstance(q, quantized.WeightQuantizer)}
    assert weights == {"stem.0.weight", "conv1.0.weight", "conv2.0.weight"}


def test_skipping_a_container_skips_what_is_inside() -> None:
    prepared = calibrated("residual", skip=("conv*",))
    weights = {q.name for q in quantized.tensor_quantizers(prepared) if isinstance(q, quantized.WeightQuantizer)}
    assert weights == {"stem.0.weight", "head.weight"}


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("layer1.1", "layer1.1.conv1", True),
        ("layer1.1", "layer1.10.conv1", False),
        ("layer*.conv1", "layer1.conv1", True),
        ("conv1", "layer1.conv1", False),
    ],
)
def test_names_match_whole_components(pattern: str, path: str, matched: bool) -> None:
    assert matches(pattern, path) is matched


def test_a_skip_pattern_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        calibrated("residual", skip=("conv3",))
    assert "conv" in str(caught.value.fix)


def test_a_narrower_placement_finds_its_ranges_among_those_of_the_full_one() -> None:
    full = calibrated("residual")
    histograms = quantized.collected_histograms(full)
    narrow = quantized.prepare(captured("residual"), make_quantizer(skip=("conv1", "head")))
    quantized.set_ranges(narrow, histograms, make_calibrator("max"))
    scales = {q.name: float(q.scale) for q in quantized.activation_quantizers(full)}
    for quantizer in quantized.activation_quantizers(narrow):
        assert float(quantizer.scale) == scales[quantizer.name]


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("name", [*NETWORKS, *MIXED_NETWORKS])
def test_whatever_is_skipped_no_tensor_is_quantized_that_the_full_placement_leaves_in_float(name: str) -> None:
    network = captured(name)
    known = {n for q in quantized.activation_quantizers(quantized.prepare(network, make_quantizer())) for n in q.names}
    for child, _ in make_network(name).named_children():
        if any(child == module_path(node).partition(".")[0] for node in network.graph.nodes):
            narrow = quantized.prepare(network, make_quantizer(skip=(child,)))
            assert {n for q in quantized.activation_quantizers(narrow) for n in q.names} <= known


def test_missing_ranges_are_an_error() -> None:
    prepared = quantized.prepare(captured("residual"), make_quantizer())
    with pytest.raises(StageError, match="no values"):
        quantized.set_ranges(prepared, {}, make_calibrator("max"))


def test_values_that_are_not_finite_name_the_tensor() -> None:
    prepared = quantized.prepare(captured("residual"), make_quantizer())
    with pytest.raises(StageError, match="tensor `x`"):
        quantized.collect(prepared, torch.full((2, *INPUT_SHAPE), float("nan")))


@pytest.mark.parametrize("per_channel", [True, False])
def test_conversion_computes_what_fake_quantization_does(per_channel: bool) -> None:
    prepared = calibrated("residual", per_channel=per_channel)
    batch = make_batch(16, seed=3)
    torch.testing.assert_close(quantized.convert(prepared)(batch), prepared(batch), rtol=0, atol=1e-5)


def test_state_files_restore_identical_outputs(tmp_path: Path) -> None:
    prepared = calibrated("depthwise")
    with torch.no_grad():  # as training would change them
        for parameter in prepared.parameters():
            parameter.mul_(1.01)
    quantized.save_state(prepared, tmp_path / "state.safetensors")
    other = quantized.prepare(capture(make_network("depthwise", seed=5), INPUT_SHAPE), make_quantizer())
    quantized.load_state(other, tmp_path / "state.safetensors")
    assert torch.equal(other(make_batch(8)), prepared(make_batch(8)))


def test_weight_scales_follow_the_weights() -> None:
    prepared = calibrated("residual")
    prepared(make_batch(2))
    first = next(q for q in quantized.tensor_quantizers(prepared) if isinstance(q, quantized.WeightQuantizer))
    before = first.scale.clone()
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.mul_(2.0)
    prepared(make_batch(2))
    torch.testing.assert_close(first.scale, 2 * before)


def test_a_dead_channel_has_a_finite_scale() -> None:
    network = make_network("residual")
    with torch.no_grad():
        network.conv1[0].weight[3] = 0.0
    prepared = quantized.prepare(capture(network, INPUT_SHAPE), make_quantizer())
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    assert torch.isfinite(quantized.convert(prepared)(make_batch(4))).all()
