"""Copies of a network's state: the best so far, and a moving average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

EMA_DECAY = 0.999
State = dict[str, torch.Tensor]


def snapshot(model: nn.Module) -> State:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def restore(model: nn.Module, state: State) -> None:
    """Write a snapshot back into the network's own tensors."""
    own = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


class MovingAverage:
    """Exponential moving average of parameters and batch norm statistics."""

    def __init__(self, model: nn.Module, decay: float = EMA_DECAY) -> None:
        self._model = model
        self._decay = decay
        self._updates = 0
        self._average = snapshot(model)

    def update(self) -> None:
        """Add the network's present state.

        The decay starts low, (1 + t) / (10 + t), so that a short training is not dominated by its first steps
        (as in TensorFlow's `ExponentialMovingAverage`).
        """
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        for name, tensor in self._model.state_dict().items():
            average = self._average[name]
            if average.is_floating_point():
                average.lerp_(tensor, 1 - decay)
            else:
                average.copy_(tensor)

    def state(self) -> tuple[int, State]:
        """Number of updates, and the average itself."""
        return self._updates, self._average

    def load(self, updates: int, average: State) -> None:
        """Go on from what `state` returned."""
        self._updates = updates
        for name, tensor in average.items():
            self._average[name].copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network holds the average inside this block, and its own state again after it."""
        own = snapshot(self._model)
        restore(self._model, self._average)
        try:
            yield
        finally:
            restore(self._model, own)
