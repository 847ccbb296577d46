"""Captured graphs that are not the network: the step and the module are named."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from oracles.networks import captured, make_batch, make_network
from torch import nn

from harness.quantization.capture.graph import capture
from harness.verification.figures import EXACT_DB, N_SAMPLES, StepFailed
from harness.verification.torch_steps import check_capture, check_prepared

SAMPLES = make_batch(N_SAMPLES).numpy()


def failure(network: nn.Module, graph: torch.fx.GraphModule) -> StepFailed:
    with pytest.raises(StepFailed) as raised:
        check_capture(network, graph, SAMPLES)
    assert raised.value.fix
    return raised.value


@pytest.mark.parametrize("name", ["residual", "depthwise", "gated", "encoder"])
def test_a_right_capture_passes_far_above_the_limit(name: str) -> None:
    check = check_capture(make_network(name), captured(name), SAMPLES)
    assert check.step == "eager → captured"
    assert check.sqnr_db is None or check.sqnr_db > 90


def test_a_wrong_fold_names_the_layer_and_its_batch_norm() -> None:
    graph = copy.deepcopy(captured("residual"))
    with torch.no_grad():
        graph.get_parameter("conv1.0.weight")[0] *= 1.1
    message = failure(make_network("residual"), graph).message
    assert message.startswith("eager → captured: the outputs agree to ")
    assert message.endswith("the first difference is at `conv1.0` and `conv1.1` (BatchNorm2d)")


def test_weights_of_another_network_name_the_first_layer() -> None:
    assert "`stem.0` and `stem.1`" in failure(make_network("residual", seed=1), captured("residual")).message


def test_a_network_that_is_random_in_eval_mode_is_said_to_be() -> None:
    class Random(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x, 0.3, training=True).mean((2, 3))

    message = failure(Random(), captured("residual")).message
    assert message.startswith("the network gives different outputs for the same input")


def test_a_network_that_changes_a_state_in_eval_mode_is_said_to_be() -> None:
    class Counting(nn.Module):
        calls = 0.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1.0
            return self.calls * x.mean((2, 3))

    assert "different outputs for the same input" in failure(Counting(), captured("residual")).message


def test_outputs_that_float32_can_only_round_are_not_accused() -> None:
    class Cancelling(nn.Module):
        """Large weights whose products cancel: what is left is mostly rounding of the weights."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x - x.mean(1, keepdim=True))).mean((2, 3))

    torch.manual_seed(0)
    network = Cancelling().eval()
    network.norm.running_var.fill_(0.3)
    with torch.no_grad():
        network.conv.weight += 1e4
    check = check_capture(network, capture(network, (3, 16, 16)), SAMPLES)
    assert check.sqnr_db is not None
    assert check.sqnr_db < EXACT_DB


def test_a_weight_changed_on_the_way_to_quantizers_names_the_layer() -> None:
    other = copy.deepcopy(captured("residual"))
    with torch.no_grad():
        other.get_parameter("conv2.0.weight")[0] *= 1.1
    with pytest.raises(StepFailed, match=r"captured → prepared: .* the first difference is at `conv2.[01]`"):
        check_prepared(captured("residual"), other, SAMPLES)


class MeanOverBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0, keepdim=True)).square().mean((2, 3))


class BatchStatistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x).relu().mean((2, 3))


class Ranked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x.mean((2, 3)), 0)


@pytest.mark.parametrize("kind", [MeanOverBatch, BatchStatistics, Ranked])
def test_a_network_that_couples_the_samples_of_a_batch_is_refused(kind: type[nn.Module]) -> None:
    network = kind().eval()
    fault = failure(network, capture(network, (3, 16, 16)))
    assert fault.message.startswith("the outputs for a sample depend on the other samples in its batch")
    assert "running statistics" in str(fault.fix)
