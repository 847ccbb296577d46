"""The captured graph computes what the eager network computes, whatever is in it."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from oracles.forms import BY_BATCH, FORM_SHAPE, FORMS, Form, conv, form_batch, make_form
from torch import nn
from torch.fx import GraphModule

from harness.errors import ModelError
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.batch_norm import BATCH_NORMS
from harness.quantization.capture.graph import CAPTURE_NOTES, capture
from harness.quantization.capture.operators import BATCH_NORM
from harness.quantization.placement.rules import RuleSet
from harness.quantization.ptq.steps import change_weights, correct
from harness.quantization.qat.graph import training_graph, write_back
from harness.targets import get_target
from harness.training.inference import set_training
from harness.verification.figures import N_SAMPLES
from harness.verification.quantized_steps import check_training_graph, check_written_back

FAST = ("SharedConvTwoNorms", "Recurrent", "TwoReaders", "TiedConvolutions", "CutInSeveralWays")
"""Forms that pass through every step in the fast tests; the others do in the slow ones."""
MODES = ("folded", "frozen", "live")


@functools.cache
def captured_form(name: str) -> GraphModule:
    return capture(make_form(name), FORM_SHAPE)


def batch_norms(graph: GraphModule) -> int:
    return sum(node.target is BATCH_NORM for node in graph.graph.nodes)


class TestEager:
    @pytest.mark.parametrize("name", FORMS)
    @pytest.mark.thorough(keep=20)
    def test_every_form_is_captured_as_it_is(self, name: str) -> None:
        network = make_form(name)
        state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        graph = capture(network, FORM_SHAPE)
        assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())
        for n in (1, 2, 5):
            with torch.no_grad():
                expected, got = network(form_batch(n)), graph(form_batch(n))
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))

    def test_a_network_in_training_is_captured_in_evaluation_and_stays_in_training(self) -> None:
        network = make_form("RepVgg").train()
        graph = capture(network, FORM_SHAPE)
        assert network.training
        torch.testing.assert_close(graph(form_batch(3)), network.eval()(form_batch(3)))

    def test_the_graph_does_not_change_its_input(self) -> None:
        x = form_batch(3)
        captured_form("ChangesItsInput")(x)
        assert torch.equal(x, form_batch(3))

    @pytest.mark.slow
    def test_batch_statistics_are_noted(self) -> None:
        noted = {name for name in FORMS if captured_form(name).meta[CAPTURE_NOTES]}
        assert noted == BY_BATCH

    def test_variable_arguments(self) -> None:
        class Any(Form):
            def forward(self, *inputs):
                return super().forward(*inputs)

        assert capture(Any(), FORM_SHAPE)(form_batch(3)).shape == (3, 5)


class TestFolding:
    def test_only_what_may_not_be_folded_stays(self) -> None:
        kept = {name: batch_norms(captured_form(name)) for name in FORMS}
        assert {name: count for name, count in kept.items() if count} == {
            "TwoReaders": 1,
            "TwoReadersBias": 1,
            "TwoNormsOfOneOutput": 2,
            "PreActivation": 2,
            "DenselyConnected": 2,
            "LinearNormOtherAxis": 1,
            "LinearNormTransposed": 1,
            "ViewBetween": 1,
            "ViewMovesChannels": 1,
            "NormFirst": 1,
            "NormedOutput": 1,
            "InPlaceThroughAView": 1,
            "InPlaceAfterReading": 1,
            "Hooked": 1,
        }

    def test_calls_of_one_layer_with_one_batch_norm_stay_one_weight(self) -> None:
        graph = captured_form("Recurrent")
        assert sorted(dict(graph.named_parameters())) == [
            "conv.weight",
            "conv.weight_bias",
            "head.bias",
            "head.weight",
            "stem.bias",
            "stem.weight",
        ]

    def test_what_folding_makes_trains_and_what_the_user_holds_fixed_does_not(self) -> None:
        graph = captured_form("BlurPool")
        buffers, parameters = dict(graph.named_buffers()), dict(graph.named_parameters())
        assert "kernel" in buffers
        assert "kernel_bias" in parameters
        assert "own_bias" in dict(captured_form("NamedLikeOurs").named_buffers())

    def test_tensors_that_share_memory_do_not_any_more(self) -> None:
        for name in ("TiedTransposed", "TiedOriginal", "TiedBias"):
            tensors = list(captured_form(name).state_dict().values())
            assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)

    def test_the_remembered_mean_is_that_of_outputs_without_bias(self) -> None:
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
        model[1].running_mean.fill_(2.0)
        nn.init.constant_(model[0].bias, 0.5)
        (remembered,) = capture(model, FORM_SHAPE).meta[BATCH_NORMS].values()
        assert remembered.mean.tolist() == [1.5] * 4


class TestRefusals:
    def test_a_lazy_module_without_values(self) -> None:
        with pytest.raises(ModelError, match="is lazy and never ran"):
            capture(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), FORM_SHAPE)

    def test_a_lazy_module_with_values_is_captured(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
        expected = network(form_batch(3))
        torch.testing.assert_close(capture(network, FORM_SHAPE)(form_batch(3)), expected)

    def test_complex_weights(self) -> None:
        network = Form()
        network.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        with pytest.raises(ModelError, match="`phase` is complex"):
            capture(network, FORM_SHAPE)

    def test_a_network_that_casts_its_input_itself(self) -> None:
        class Double(Form):
            def forward(self, x):
                return super().forward(x.double())

        with pytest.raises(ModelError, match="converted to float32"):
            capture(Double().double(), FORM_SHAPE)

    def test_the_meta_device(self) -> None:
        with torch.device("meta"):
            network = Form()
        with pytest.raises(ModelError, match="has no values"):
            capture(network, FORM_SHAPE)

    def test_outputs_that_depend_on_state(self) -> None:
        class Remembers(Form):
            def build(self) -> None:
                self.register_buffer("last", torch.zeros(8))

            def middle(self, x):
                self.last.mul_(0.9)
                return x + self.last.view(1, -1, 1, 1)

        with pytest.raises(ModelError, match="depend on buffer `last`"):
            capture(Remembers(), FORM_SHAPE)


def prepare(graph: GraphModule, target_name: str) -> GraphModule:
    target = get_target(target_name)
    quantizer = target.quantizer(
        target.number_format(8, 8), per_channel=True, weight_calibrator=make_calibrator("max"), rules=RuleSet()
    )
    return quantized.prepare(graph, quantizer)


def with_ranges(prepared: GraphModule) -> GraphModule:
    quantized.collect(prepared, form_batch(32, seed=2))
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


def check_steps(name: str, target: str, tmp_path: Path) -> None:
    """Every step from the captured graph to a trained state that was read again."""
    graph, batch = captured_form(name), form_batch(5)
    samples = form_batch(N_SAMPLES, seed=3).numpy()
    prepared = prepare(graph, target)
    torch.testing.assert_close(prepared(batch), graph(batch), rtol=0, atol=1e-5)
    with_ranges(prepared)
    torch.testing.assert_close(quantized.convert(prepared)(batch), prepared(batch), rtol=0, atol=1e-4)
    for mode in MODES:
        result = copy.deepcopy(prepared)
        trained = training_graph(result, batch_norm=mode)
        set_training(trained, False)
        # Unfolding and folding again rounds: at most single values move by one integer step.
        difference, largest = (trained(batch) - prepared(batch)).abs(), prepared(batch).abs().max()
        assert float(difference.median()) < 0.01 * float(largest)
        check_training_graph(prepared, trained, samples)
        train(trained)
        write_back(trained, result)
        check_written_back(trained, result, samples)
        assert torch.equal(trained(batch), result(batch))
        assert not torch.equal(result(batch), prepared(batch))
        quantized.save_state(result, tmp_path / mode)
        again = prepare(graph, target)
        quantized.load_state(again, tmp_path / mode)
        assert torch.equal(again(batch), result(batch))


def train(graph: GraphModule) -> None:
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.02)
    set_training(graph, True)
    for step in range(2):
        loss = F.cross_entropy(graph(form_batch(10, seed=step)), torch.arange(10) % 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    set_training(graph, False)


class TestEveryStep:
    @pytest.mark.parametrize("name", FAST)
    def test_the_network_stays_itself(self, name: str, tmp_path: Path) -> None:
        check_steps(name, "onnxruntime", tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("target", ["onnxruntime", "tensorrt-rtx"])
    @pytest.mark.parametrize("name", FORMS)
    def test_the_network_stays_itself_everywhere(self, name: str, target: str, tmp_path: Path) -> None:
        check_steps(name, target, tmp_path)

    def test_a_shared_weight_has_one_quantizer(self) -> None:
        prepared = prepare(captured_form("Recurrent"), "onnxruntime")
        names = [quantizer.name for quantizer in quantized.weight_quantizers(prepared)]
        assert sorted(names) == ["conv.weight", "head.weight", "stem.weight"]

    def test_live_standalone_batch_norm_follows_the_batches(self) -> None:
        prepared = with_ranges(prepare(captured_form("TwoReaders"), "onnxruntime"))
        before = prepared.get_buffer("norm.running_mean").clone()
        for mode, moves in (("frozen", False), ("live", True)):
            result = copy.deepcopy(prepared)
            trained = training_graph(result, batch_norm=mode)
            train(trained)
            write_back(trained, result)
            assert (not torch.equal(result.get_buffer("norm.running_mean"), before)) is moves

    def test_live_training_at_rate_zero_keeps_a_network_with_biases(self) -> None:
        """Running statistics that are those of the data stay where they are."""
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8, momentum=0.5), nn.Flatten(), nn.Linear(800, 5))
        nn.init.uniform_(network[0].bias, 3, 5)
        x = form_batch(64)
        for _ in range(30):
            network.train()(x)
        prepared = with_ranges(prepare(capture(network, FORM_SHAPE), "onnxruntime"))
        graph = training_graph(prepared, batch_norm="live")
        set_training(graph, True)
        for _ in range(30):
            graph(x)
        set_training(graph, False)
        before, after = prepared(x), graph(x)
        assert float((after - before).norm()) < 0.05 * float(before.norm())


class TestPtqSteps:
    @pytest.mark.parametrize("name", ["SharedConvTwoNorms", "Recurrent", "TiedBias", "TiedConvolutions", "BlurPool"])
    def test_steps_that_change_weights_keep_networks_that_share_them(self, name: str) -> None:
        graph, batch = captured_form(name), form_batch(5)
        steps = ("cross_layer_equalization", "bias_correction", "batch_norm_reestimation")
        changed, _ = change_weights(graph, steps)
        torch.testing.assert_close(changed(batch), graph(batch), rtol=1e-4, atol=1e-5)
        prepared = with_ranges(prepare(changed, "onnxruntime"))
        plain = with_ranges(prepare(graph, "onnxruntime"))
        correct(prepared, steps, lambda: iter([form_batch(32, seed=2)]))
        wanted = graph(form_batch(64, seed=4))
        error, plain_error = ((each(form_batch(64, seed=4)) - wanted).norm() for each in (prepared, plain))
        assert float(error) < 2 * float(plain_error)
        for mode in MODES:
            trained = training_graph(prepared, batch_norm=mode)
            set_training(trained, False)
            torch.testing.assert_close(trained(batch).median(), prepared(batch).median(), rtol=0.02, atol=0.02)

    def test_equalization_goes_with_every_batch_norm_mode(self) -> None:
        """QAT divides the equalized weight by the batch norm that is in it, equalized too."""
        torch.manual_seed(0)
        network = nn.Sequential(conv(2), nn.BatchNorm2d(8), nn.ReLU(), conv(), nn.Flatten(), nn.Linear(8 * 144, 5))
        graph = capture(network, FORM_SHAPE)
        changed, _ = change_weights(graph, ("cross_layer_equalization",))
        before, after = (each.meta[BATCH_NORMS]["0.weight"] for each in (graph, changed))
        ratio = changed.get_parameter("0.weight") / graph.get_parameter("0.weight")
        torch.testing.assert_close(after.gamma / before.gamma, ratio[:, 0, 0, 0])


def test_a_branch_on_the_batch_size_is_named_as_such() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.shape[0] < 16 else x * 0.5

    with pytest.raises(ModelError, match=r"depends on the batch size .*batch size <= 15") as raised:
        capture(Branching(), (1, 4, 4))
    assert "`x.shape[0]`" in str(raised.value.fix)
    assert "TORCH_LOGS" not in raised.value.message
