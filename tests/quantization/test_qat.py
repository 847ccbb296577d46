"""The graph that QAT trains: what it computes, what moves in it, and what comes back."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from oracles.networks import INPUT_SHAPE, NETWORKS, captured, make_batch, make_network
from torch import nn

from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.batch_norm import BatchNormLayer
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.qat.graph import Freezing, freezing_schedule, training_graph, write_back
from harness.quantization.tensor_quantizer import OBSERVED_SHARE
from harness.targets import get_target
from harness.training.inference import is_training, set_training

MODES = ("folded", "frozen", "live")


def prepared_network(name: str, per_channel: bool = True, skip: tuple[str, ...] = (), graph=None):
    target = get_target("onnxruntime")
    quantizer = target.quantizer(
        target.number_format(8, 8),
        per_channel=per_channel,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet(skip=skip),
    )
    prepared = quantized.prepare(graph or captured(name), quantizer)
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


def train(graph, steps: int = 3, lr: float = 0.01) -> list[float]:
    """Losses of a few steps on one batch; leaves the graph in evaluation."""
    batch, labels = make_batch(16, seed=5), torch.arange(16) % 5
    optimizer = torch.optim.SGD(graph.parameters(), lr=lr, momentum=0.9)
    losses = []
    set_training(graph, True)
    for _ in range(steps):
        loss = F.cross_entropy(graph(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    set_training(graph, False)
    return losses


def layers(graph) -> list[BatchNormLayer]:
    return [module for module in graph.modules() if isinstance(module, BatchNormLayer)]


class TestEveryMode:
    @pytest.mark.parametrize("name", NETWORKS)
    @pytest.mark.parametrize("batch_norm", MODES)
    @pytest.mark.parametrize("learn", [False, True])
    @pytest.mark.parametrize("per_channel", [True, False])
    @pytest.mark.thorough(keep=18)
    def test_it_starts_as_ptq_trains_everything_and_settles_to_identical_outputs(
        self, name, batch_norm, learn, per_channel, tmp_path: Path
    ) -> None:
        prepared, batch = prepared_network(name, per_channel), make_batch(8, seed=7)
        graph = training_graph(prepared, batch_norm=batch_norm, learn_ranges=learn)
        set_training(graph, False)
        # Unfolding and folding again rounds: at most single values move by one integer step.
        with torch.no_grad():
            difference, largest = (graph(batch) - prepared(batch)).abs(), prepared(batch).abs().max()
        assert float(difference.median()) < 0.01 * float(largest)

        before = {key: tensor.clone() for key, tensor in graph.named_parameters()}
        train(graph)
        # A step may be smaller than the last digit of a scale; then its gradient tells.
        still = [key for key, tensor in graph.named_parameters() if torch.equal(tensor, before[key])]
        assert [key for key in still if not graph.get_parameter(key).grad.abs().sum() > 0] == []

        write_back(graph, prepared)
        assert torch.equal(prepared(batch), graph(batch))
        quantized.save_state(prepared, tmp_path / "state.safetensors")
        again = prepared_network(name, per_channel)
        quantized.load_state(again, tmp_path / "state.safetensors")
        assert torch.equal(again(batch), graph(batch))
        torch.testing.assert_close(quantized.convert(again)(batch), graph(batch), rtol=0, atol=1e-4)

    def test_the_callers_graph_is_not_trained(self) -> None:
        prepared = prepared_network("residual")
        before = prepared(make_batch(4))
        train(training_graph(prepared, batch_norm="live", learn_ranges=True))
        assert torch.equal(prepared(make_batch(4)), before)

    @pytest.mark.parametrize("batch_norm", MODES)
    def test_layers_that_are_skipped_train_in_float(self, batch_norm) -> None:
        prepared = prepared_network("residual", skip=("conv1",))
        graph = training_graph(prepared, batch_norm=batch_norm)
        assert len(layers(graph)) == (0 if batch_norm == "folded" else 3)
        train(graph)
        write_back(graph, prepared)
        assert torch.equal(prepared(make_batch(4)), graph(make_batch(4)))

    def test_every_relu_became_the_clip_of_its_quantizer(self) -> None:
        graph = training_graph(prepared_network("depthwise"))
        assert not [node for node in graph.graph.nodes if "relu" in str(node.target) or "hardtanh" in str(node.target)]
        # Learned scales keep ReLU6: their gradient knows no upper clip.
        graph = training_graph(prepared_network("depthwise"), learn_ranges=True)
        assert len([node for node in graph.graph.nodes if node.op == "call_function" and "6" in str(node.target)]) == 2


class TestBatchNorm:
    def make_layer(self) -> tuple[nn.Conv2d, nn.BatchNorm2d, BatchNormLayer]:
        """A convolution and its batch norm, and the layer that stands for both, without quantizer."""
        torch.manual_seed(2)
        model = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, momentum=0.2))
        conv, norm = model
        with torch.no_grad():
            norm.weight.uniform_(-2, 2)  # negative factors turn the sign of a channel's weight
            norm.bias.uniform_(-1, 1)
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
        graph = capture(model, (3, 8, 8))
        (remembered,) = graph.meta["harness_batch_norms"].values()
        weight, bias = graph.get_parameter("0.weight"), graph.get_parameter("0.weight_bias")
        layer = BatchNormLayer(torch.ops.aten.conv2d.default, weight, bias, nn.Identity(), remembered)
        return conv, norm, layer

    def test_in_evaluation_it_is_the_folded_layer(self) -> None:
        conv, norm, layer = self.make_layer()
        x = torch.randn(4, 3, 8, 8)
        layer.live = True
        torch.testing.assert_close(layer.eval()(x), norm.eval()(conv(x)), rtol=1e-4, atol=1e-5)
        layer.live = False
        torch.testing.assert_close(layer.train()(x), norm.eval()(conv(x)), rtol=1e-4, atol=1e-5)

    def test_live_it_is_torchs_batch_norm_with_its_statistics_and_gradients(self) -> None:
        conv, norm, layer = self.make_layer()
        layer.live = True
        x = torch.randn(4, 3, 8, 8)
        expected, got = norm.train()(conv(x)), layer.train()(x)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_mean, norm.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_variance, norm.running_var, rtol=1e-4, atol=1e-5)
        expected.square().sum().backward()
        got.square().sum().backward()
        pairs = ((layer.weight, conv.weight), (layer.gamma, norm.weight), (layer.beta, norm.bias))
        for ours, theirs in pairs:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)

    def test_only_live_statistics_move(self) -> None:
        for batch_norm, moves in (("frozen", False), ("live", True)):
            graph = training_graph(prepared_network("residual"), batch_norm=batch_norm)
            before = [layer.running_mean.clone() for layer in layers(graph)]
            train(graph, steps=1)
            after = [layer.running_mean for layer in layers(graph)]
            assert [not torch.equal(a, b) for a, b in zip(after, before, strict=True)] == [moves] * 3

    def test_a_channel_with_factor_zero_stays_finite(self) -> None:
        network = make_network("residual")
        with torch.no_grad():
            network.conv1[1].weight[2] = 0.0
        graph = training_graph(prepared_network("residual", graph=capture(network, INPUT_SHAPE)), batch_norm="live")
        assert all(loss < 100 for loss in train(graph))  # not NaN either

    def test_evaluation_during_training_moves_nothing(self) -> None:
        graph = training_graph(prepared_network("residual"), batch_norm="live", observe=True)
        set_training(graph, True)
        assert is_training(graph)
        set_training(graph, False)
        state = {key: tensor.clone() for key, tensor in graph.state_dict().items()}
        graph(3 * make_batch(8))
        assert all(torch.equal(tensor, state[key]) for key, tensor in graph.state_dict().items())


class TestLearnedRanges:
    def test_scales_move_zero_points_stay_and_both_are_exported(self) -> None:
        prepared = prepared_network("residual")
        before = {q.name: (float(q.scale), int(q.zero_point)) for q in quantized.activation_quantizers(prepared)}
        graph = training_graph(prepared, learn_ranges=True)
        train(graph, lr=0.1)
        write_back(graph, prepared)
        for quantizer in quantized.activation_quantizers(prepared):
            scale, zero_point = before[quantizer.name]
            assert float(quantizer.scale) != scale
            assert int(quantizer.zero_point) == zero_point
        deployed = {
            float(node.args[1])
            for node in quantized.convert(prepared).graph.nodes
            if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default
        }
        assert deployed == {float(q.scale) for q in quantized.activation_quantizers(prepared)}

    def test_a_learned_weight_scale_no_longer_follows_the_weight(self) -> None:
        prepared = prepared_network("residual")
        graph = training_graph(prepared, learn_ranges=True)
        write_back(graph, prepared)
        (quantizer, weight) = quantized.quantized_weights(prepared)[0]
        scale = quantizer.scale.clone()
        with torch.no_grad():
            weight.mul_(2)
        prepared(make_batch(2))
        assert torch.equal(quantizer.scale, scale)

    def test_the_gradient_of_a_weight_scale(self) -> None:
        from harness.quantization.formats import IntegerFormat
        from harness.quantization.tensor_quantizer import WeightQuantizer

        integer = IntegerFormat(bits=3, signed=True, symmetric=True, narrow=True)  # -3 … 3
        quantizer = WeightQuantizer(integer, 0, make_calibrator("max"))
        quantizer.set_learned(torch.tensor([0.5, 1.0]))
        quantizer.mode = "quantize"
        quantizer(torch.tensor([[0.3, 9.0], [-0.8, -9.0]])).sum().backward()
        # Channel 0: round(0.6) - 0.6 = 0.4, above: 3. Channel 1: -1 + 0.8 = -0.2, below: -3. g = 1 / sqrt(2 * 3).
        assert quantizer.scale.grad.tolist() == pytest.approx([3.4 / 6**0.5, -3.2 / 6**0.5])

    def test_a_scale_that_would_turn_negative_stays_usable(self) -> None:
        graph = training_graph(prepared_network("residual"), learn_ranges=True)
        with torch.no_grad():
            quantized.activation_quantizers(graph)[0].scale.fill_(-1.0)
        assert torch.isfinite(graph(make_batch(2))).all()


class TestFreezing:
    def test_batch_norm_and_observers_stop_at_their_share_of_the_steps(self) -> None:
        graph = training_graph(prepared_network("residual"), batch_norm="live", observe=True)
        before_step = freezing_schedule(graph, Freezing(batch_norm_after=0.5, observers_after=0.25))
        seen = []
        for done in range(8):
            before_step(done, 8)
            live = {layer.live for layer in layers(graph)}
            modes = {q.mode for q in quantized.activation_quantizers(graph)}
            seen.append((*live, *modes))
        assert seen == [(True, "observe")] * 2 + [(True, "quantize")] * 2 + [(False, "quantize")] * 4

    def test_an_observed_range_moves_by_a_hundredth_towards_the_batch(self) -> None:
        graph = training_graph(prepared_network("residual"), observe=True)
        first = quantized.activation_quantizers(graph)[0]
        low, high = (float(bound) for bound in first.observed)
        set_training(graph, True)
        batch = make_batch(8) * 4
        graph(batch)
        expected = [
            old + OBSERVED_SHARE * (float(new) - old) for old, new in zip((low, high), batch.aminmax(), strict=True)
        ]
        assert first.observed.tolist() == pytest.approx(expected)
        assert float(first.scale) == pytest.approx((expected[1] - expected[0]) / 255)

    def test_behind_a_fused_relu_the_observed_minimum_is_zero(self) -> None:
        graph = training_graph(prepared_network("residual"), observe=True)
        set_training(graph, True)
        for _ in range(3):
            graph(make_batch(8))
        clipped = [q for q in quantized.activation_quantizers(graph) if q.clip.low == 0.0]
        assert len(clipped) == 3
        assert {int(q.zero_point) for q in clipped} == {0}


def test_relus_before_a_quantizer_that_two_tensors_share_stay() -> None:
    """TensorRT's concatenation has one scale for its inputs; the quantizer has two names in the graph then."""
    from oracles.verified_steps import Steps

    from harness.verification.quantized_steps import check_training_graph, check_written_back

    steps = Steps("concat", target="tensorrt-rtx")
    check = check_training_graph(steps.prepared, training_graph(steps.prepared), steps.samples)
    assert (check.sqnr_db, check.layers) == (None, 11)  # identical
    graph, settled = steps.trained("live")
    assert check_written_back(graph, settled, steps.samples).layers == 11
