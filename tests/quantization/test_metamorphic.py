"""Networks that compute the same stay the same: captured, quantized, and trained in every batch-norm mode.

Tolerances. Captured graphs differ by float32's rounding: 1e-5 of the largest output. Quantization amplifies that where
a value lies on the edge between two integers; then single values move by one step, so two quantized networks may differ
by a fraction of what quantization itself changes. A network that is quantized wrongly differs by as much or more.
After training, by a fraction of what training changed, too.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from oracles.forms import FORM_SHAPE, form_batch
from oracles.pairs import MODES, PAIRS, evaluated
from torch.fx import GraphModule

from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.quantization.qat.graph import training_graph, write_back
from harness.targets import get_target
from harness.training.inference import set_training

ROUNDING = 1e-5
FRACTION = 1 / 3
STEPS, RATE = 4, 0.05
FAST = ("bias_before_batch_norm_conv2d", "one_convolution_with_two_norms", "parametrized_weight_norm")


@functools.cache
def captured_pair(name: str) -> tuple[GraphModule, GraphModule]:
    first, second = PAIRS[name].make()
    return capture(first, FORM_SHAPE), capture(second, FORM_SHAPE)


@functools.cache
def prepared_pair(name: str, target: str = "onnxruntime") -> tuple[GraphModule, GraphModule]:
    first, second = captured_pair(name)
    return with_ranges(first, target), with_ranges(second, target)


def with_ranges(graph: GraphModule, target_name: str) -> GraphModule:
    target = get_target(target_name)
    quantizer = target.quantizer(
        target.number_format(8, 8), per_channel=True, weight_calibrator=make_calibrator("max"), rules=RuleSet()
    )
    prepared = quantized.prepare(graph, quantizer)
    quantized.collect(prepared, form_batch(32, seed=2))
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


@torch.no_grad()
def outputs(graph: GraphModule) -> torch.Tensor:
    return graph(form_batch(32, seed=9))


def trained(prepared: GraphModule, mode: str) -> GraphModule:
    """A few steps at a high rate, on the same batches for every network."""
    result = copy.deepcopy(prepared)
    graph = training_graph(result, batch_norm=mode)
    optimizer = torch.optim.SGD(graph.parameters(), lr=RATE)
    set_training(graph, True)
    for step in range(STEPS):
        loss = F.cross_entropy(graph(form_batch(16, seed=step)), torch.arange(16) % 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    set_training(graph, False)
    write_back(graph, result)
    return result


def test_there_are_fifty_pairs_and_most_are_equal_in_every_mode() -> None:
    assert len(PAIRS) >= 50
    assert sum(set(pair.modes) == set(MODES) for pair in PAIRS.values()) >= 35


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.thorough(keep=6)
def test_the_captured_networks_are_equal_and_are_the_eager_ones(name: str) -> None:
    eager = [evaluated(network, form_batch(32, seed=9)) for network in PAIRS[name].make()]
    first, second = map(outputs, captured_pair(name))
    limit = ROUNDING * float(first.abs().max())
    torch.testing.assert_close(eager[0], eager[1], rtol=0, atol=limit)  # the pair is one
    torch.testing.assert_close(first, eager[0], rtol=0, atol=limit)
    torch.testing.assert_close(second, eager[1], rtol=0, atol=limit)


@pytest.mark.thorough(keep=14)
@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if pair.ptq])
def test_ptq_gives_equal_networks(name: str) -> None:
    first, second = map(outputs, prepared_pair(name))
    error = (first - outputs(captured_pair(name)[0])).norm()
    assert float((first - second).norm()) <= FRACTION * float(error)


def check_qat(name: str, mode: str) -> None:
    before, second = prepared_pair(name)
    start, first, second = outputs(before), outputs(trained(before, mode)), outputs(trained(second, mode))
    error = (start - outputs(captured_pair(name)[0])).norm()
    moved = (first - start).norm()
    assert float(moved) > float(error)  # or the comparison would say nothing
    assert float((first - second).norm()) <= FRACTION * float(error)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAST)
def test_qat_gives_equal_networks(name: str, mode: str) -> None:
    check_qat(name, mode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, mode) for name, pair in PAIRS.items() if name not in FAST for mode in pair.modes],
)
def test_qat_gives_equal_networks_everywhere(name: str, mode: str) -> None:
    check_qat(name, mode)
