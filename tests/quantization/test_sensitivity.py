"""Which layer's quantization hurts the output, from one pass over the data."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
from oracles.networks import INPUT_SHAPE, NETWORKS, captured, make_batch
from torch import nn
from torch.fx import GraphModule

from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.sensitivity.layer_costs import (
    ALL,
    Noise,
    layer_noise,
    layers_with_quantizers,
    most_sensitive_first,
    only,
)
from harness.quantization.sensitivity.skip_search import smallest_skip_set
from harness.stats.intervals import PairedDifference, paired_difference
from harness.targets import get_target

LAYERS = ("first", "wide", "last", "pool", "flatten", "head")
WEIGHTED_LAYERS = ("first", "wide", "last", "head")


def sensitive_network() -> nn.Module:
    """Per tensor, 8 bits leave nothing of the weights of `wide` but one that the float network does not feel.

    Channel 0 of `first` is always zero, so the weight 1000 that reads it changes no output. But it makes the step of
    `wide` 1000 / 127 = 7.9, and all of its other weights, well below 3.9, are rounded to zero.
    """
    torch.manual_seed(0)
    network = nn.Sequential(
        OrderedDict(
            first=nn.Conv2d(3, 8, 3, padding=1),
            relu1=nn.ReLU(),
            wide=nn.Conv2d(8, 8, 3, padding=1),
            relu2=nn.ReLU(),
            last=nn.Conv2d(8, 8, 3, padding=1),
            relu3=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Linear(8, 5),
        )
    )
    with torch.no_grad():
        network.first.weight[0] = 0.0
        network.first.bias[0] = 0.0
        network.wide.weight[0, 0] = 1000.0
        logits = network(make_batch(500, seed=9))  # standardised, so that every class is predicted for some inputs
        network.head.weight /= logits.std(dim=0)[:, None]
        network.head.bias.copy_((network.head.bias - logits.mean(dim=0)) / logits.std(dim=0))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> GraphModule:
    return capture(sensitive_network(), INPUT_SHAPE)


def prepare(network: GraphModule, skip: tuple[str, ...] = ()) -> GraphModule:
    """The network at 8 bits with one weight scale per tensor, calibrated."""
    target = get_target("onnxruntime")

    def quantizer(skip: tuple[str, ...]):
        return target.quantizer(
            target.number_format(8, 8),
            per_channel=False,
            weight_calibrator=make_calibrator("max"),
            rules=RuleSet(skip=skip),
        )

    full = quantized.prepare(network, quantizer(()))
    quantized.collect(full, make_batch())
    prepared = quantized.prepare(network, quantizer(skip))
    quantized.set_ranges(prepared, quantized.collected_histograms(full), make_calibrator("max"))
    return prepared


@pytest.fixture
def prepared(network: GraphModule) -> GraphModule:
    return prepare(network)


def batches(size: int, n: int = 56) -> Iterator[torch.Tensor]:
    yield from make_batch(n, seed=2).split(size)


class TestLayers:
    def test_every_module_with_integer_operations_is_one(self, prepared: GraphModule) -> None:
        # The ReLUs are computed by the convolutions before them.
        assert {layer.name for layer in layers_with_quantizers(prepared)} == set(LAYERS)

    def test_a_layer_has_its_weight_its_input_and_its_output(self, prepared: GraphModule) -> None:
        wide = next(layer for layer in layers_with_quantizers(prepared) if layer.name == "wide")
        assert wide.operators == ("conv2d",)
        assert wide.weights == 8 * 8 * 3 * 3
        assert {q.name for q in wide.quantizers} == {"wide.weight", "relu", "relu_1"}

    def test_every_quantizer_belongs_to_a_layer(self) -> None:
        for name in NETWORKS:
            prepared = prepare(captured(name))
            owned = {id(q) for layer in layers_with_quantizers(prepared) for q in layer.quantizers}
            assert owned == {id(q) for q in quantized.tensor_quantizers(prepared)}

    def test_what_a_network_calls_itself_cannot_be_skipped_without_its_layers(self) -> None:
        layers = {layer.name: layer for layer in layers_with_quantizers(prepare(captured("residual")))}
        assert "add" in layers[""].operators
        assert {name for name, layer in layers.items() if layer.is_container} == {""}

    @pytest.mark.parametrize("name", WEIGHTED_LAYERS)  # the others run on integers only beside integer layers
    def test_one_layer_alone_is_the_network_that_skips_all_others(self, network: GraphModule, name: str) -> None:
        others = tuple(layer for layer in LAYERS if layer != name)
        expected = prepare(network, skip=others)(make_batch(8))
        full = prepare(network)
        (layer,) = [layer for layer in layers_with_quantizers(full) if layer.name == name]
        with only(full, layer):
            assert torch.equal(full(make_batch(8)), expected)


class TestNoise:
    def test_decibels(self) -> None:
        # 10 log10(100 / 1) = 20.
        assert Noise(signal=100.0, noise=1.0).sqnr_db == pytest.approx(20.0)
        assert Noise(signal=100.0, noise=0.0).sqnr_db == math.inf

    def test_quantizing_nothing_changes_nothing(self, network: GraphModule, prepared: GraphModule) -> None:
        with only(prepared, None):
            assert torch.equal(prepared(make_batch(8)), network(make_batch(8)))

    def test_it_is_the_squared_error_of_the_outputs(self, network: GraphModule, prepared: GraphModule) -> None:
        noise = layer_noise(prepared, layers_with_quantizers(prepared), batches(56))
        reference = network(make_batch(56, seed=2)).double()
        assert noise[ALL].signal == pytest.approx(reference.square().sum().item())
        error = prepared(make_batch(56, seed=2)).double() - reference
        assert noise[ALL].noise == pytest.approx(error.square().sum().item())

    def test_the_batch_size_does_not_matter(self, prepared: GraphModule) -> None:
        layers = layers_with_quantizers(prepared)
        small, large = layer_noise(prepared, layers, batches(5)), layer_noise(prepared, layers, batches(56))
        for name, noise in small.items():
            assert noise.sqnr_db == pytest.approx(large[name].sqnr_db, abs=0.01)

    def test_it_reads_every_batch_once(self, prepared: GraphModule) -> None:
        read, done = [], []

        def counted() -> Iterator[torch.Tensor]:
            for batch in batches(28):
                read.append(len(batch))
                yield batch

        layer_noise(prepared, layers_with_quantizers(prepared), counted(), done.append)
        assert read == [28, 28]
        assert done == [28, 56]

    def test_networks_are_left_as_they_were(self, network: GraphModule) -> None:
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        prepared = prepare(network)
        expected = prepared(make_batch(8))
        layer_noise(prepared, layers_with_quantizers(prepared), batches(28))
        assert torch.equal(prepared(make_batch(8)), expected)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class TestRanking:
    def test_the_sensitive_layer_is_first_by_sqnr(self, prepared: GraphModule) -> None:
        layers = layers_with_quantizers(prepared)
        noise = layer_noise(prepared, layers, batches(28))
        first, second, *_ = most_sensitive_first(layers, noise)
        assert first.name == "wide"
        assert noise["wide"].sqnr_db < noise[second.name].sqnr_db - 10

    def test_and_by_accuracy(self, network: GraphModule, prepared: GraphModule) -> None:
        batch = make_batch(200, seed=3)
        labels = network(batch).argmax(1)
        right = {}
        for layer in layers_with_quantizers(prepared):
            with only(prepared, layer):
                right[layer.name] = float((prepared(batch).argmax(1) == labels).float().mean())
        assert min(right, key=right.__getitem__) == "wide"

    def test_an_activation_with_a_wide_range_makes_its_layers_sensitive(self) -> None:
        network = sensitive_network()
        with torch.no_grad():
            network.wide.weight[0, 0] = 0.0
            network.first.bias[0] = 1000.0  # nothing reads channel 0, but the activation's range covers it
            network.wide.weight[:, 0] = 0.0
        prepared = prepare(capture(network, INPUT_SHAPE))
        layers = layers_with_quantizers(prepared)
        ranked = most_sensitive_first(layers, layer_noise(prepared, layers, batches(28)))
        assert {layer.name for layer in ranked[:2]} == {"first", "wide"}

    def test_the_smallest_skip_set_is_exactly_the_sensitive_layer(self, network: GraphModule) -> None:
        batch = make_batch(1000, seed=3)
        labels = network(batch).argmax(1)
        correct = torch.ones(len(labels), dtype=torch.bool).numpy()

        def judge(skip: tuple[str, ...]) -> PairedDifference:
            return paired_difference(correct, (prepare(network, skip)(batch).argmax(1) == labels).numpy())

        # The means of noise differ little from each other, so all that follows them costs about 18 points together.
        found = smallest_skip_set(("wide", "last", "first", "pool", "flatten", "head"), judge, budget=0.3)
        assert (found.status, found.skip) == ("found", ("wide",))
        # Nothing, everything, the most sensitive one: it needs no more, and nothing can be dropped but itself.
        assert list(found.trials) == [(), ("wide", "last", "first", "pool", "flatten", "head"), ("wide",)]
