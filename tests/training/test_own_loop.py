"""A training loop of the user's changes the network, or says why it did not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.data.samples import Samples
from harness.errors import StageError
from harness.registry import plugged_in
from harness.training.own_loop import LoopContext, TrainingData, train_with
from harness.training.settings import Recipe

NAME = "loop.py:train"
Train = Callable[..., nn.Linear]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains a layer of ones by a function."""

    def run(loop: Callable[..., Any]) -> nn.Linear:
        with torch.random.fork_rng(devices=[]):  # what follows is about the state that the loop leaves
            network = nn.Linear(4, 2)
        nn.init.ones_(network.weight)
        samples = Samples(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64), (0.0,), (1.0,))
        context = LoopContext(Recipe(seed=5), 1, print, print, tmp_path)
        with plugged_in({("training loop", NAME): loop}):
            train_with(NAME, network, TrainingData(samples, samples), context)
        return network

    return run


def test_weights_that_are_changed_in_place(train: Train) -> None:
    def loop(network: nn.Linear, data: object, context: object) -> None:
        network.weight.data.mul_(2)

    network = train(loop)
    assert network.weight.tolist() == [[2.0] * 4] * 2
    assert not network.training


def test_weights_that_are_returned(train: Train) -> None:
    weights = {"weight": torch.full((2, 4), 3.0), "bias": torch.zeros(2)}
    assert train(lambda *_: weights).weight.tolist() == [[3.0] * 4] * 2


def test_the_network_comes_in_training_mode_with_a_seed(train: Train) -> None:
    seen = []

    def loop(network: nn.Module, data: TrainingData, context: LoopContext) -> None:
        seen.append((network.training, context.recipe.seed, torch.rand(1).item()))

    state = torch.get_rng_state()
    train(loop)
    train(loop)
    assert seen[0] == seen[1]
    assert seen[0][:2] == (True, 5)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        (lambda *_: 3, "returned int"),
        (lambda *_: {"weight": torch.zeros(1)}, "do not fit"),
        (lambda _network, data, _context: data.nothing, "failed: AttributeError"),
    ],
)
def test_what_is_wrong_fails_the_stage(train: Train, loop: Callable[..., Any], said: str) -> None:
    with pytest.raises(StageError, match=said):
        train(loop)


def test_weights_that_are_no_numbers_fail_the_stage(train: Train) -> None:
    def loop(network: nn.Linear, data: object, context: object) -> None:
        network.weight.data[0, 0] = float("nan")

    with pytest.raises(StageError, match=r"diverged: `weight` holds NaN"):
        train(loop)
