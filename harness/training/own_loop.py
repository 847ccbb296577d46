"""A training loop of the user's: what it is given, and what becomes of what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from harness.data.samples import Samples
from harness.errors import HarnessError, StageError
from harness.registry import plugged
from harness.training.model_files import described
from harness.training.settings import Recipe

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class TrainingData:
    """What may be trained on; test samples are not among it."""

    train: Samples
    validation: Samples
    """Held out of the training samples, to choose an epoch by."""


@dataclass(frozen=True)
class LoopContext:
    """What a training loop gets beside network and data."""

    recipe: Recipe
    """The keys of `training` in the scenario, and the seed."""
    threads: int
    progress: Callable[[float, float], None]
    """Called with what is done and what there is in all, in any unit; it keeps the loop from being taken for hung."""
    note: Callable[[str], None]
    """Shown to the user during the run."""
    folder: Path
    """For checkpoints: a run that is killed finds its files again, a run that ends removes them."""


def train_with(name: str, network: nn.Module, data: TrainingData, context: LoopContext) -> None:
    """Let the loop `name` train the network in place, and leave it in eval mode.

    torch's random state is seeded for it and restored. StageError when the loop fails, when the weights that it
    returns do not fit, or when a weight is no number.
    """
    loop = plugged("training loop", name)
    if loop is None:
        raise StageError(f"the training loop `{name}` is not loaded")
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.recipe.seed)
        try:
            returned = loop(network, data, context)
        except HarnessError:
            raise
        except Exception as error:  # of the user's code
            raise StageError(f"the training loop `{name}` failed: {described(error)}", fix="correct it") from error
    if returned is not None:
        _take(name, network, returned)
    network.eval()
    broken = [key for key, value in network.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise StageError(f"training with `{name}` diverged: `{broken[0]}` holds NaN or infinity", fix="train less hard")


def _take(name: str, network: nn.Module, returned: object) -> None:
    if not isinstance(returned, Mapping):
        fix = "return nothing, or a state dict"
        raise StageError(f"the training loop `{name}` returned {type(returned).__name__}", fix=fix)
    try:
        network.load_state_dict(returned)
    except (RuntimeError, TypeError, AttributeError) as error:
        message = f"the weights that the training loop `{name}` returned do not fit: {described(error)}"
        raise StageError(message, fix="return `network.state_dict()`, or nothing") from error
