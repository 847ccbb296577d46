"""Running a network over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from harness.data.samples import Samples
from harness.data.tasks import IGNORED_LABEL

DEFAULT_BATCH_SIZE = 256


def set_training(model: nn.Module, training: bool) -> None:
    """Switch dropout and batch norm, where the network has such a switch.

    Networks captured by torch.export have their mode fixed in the graph and forbid `train()` and `eval()`; of the
    modules in them those are switched that say so with an attribute `switches_with_network`.
    """
    try:
        model.train(training)
    except NotImplementedError:
        for module in model.modules():
            if getattr(module, "switches_with_network", False):
                module.train(training)


def is_training(model: nn.Module) -> bool:
    """Whether `set_training` last switched the network to training."""
    switched = [module for module in model.modules() if getattr(module, "switches_with_network", False)]
    return (switched[0] if switched else model).training


@contextmanager
def inference_mode_of(model: nn.Module) -> Iterator[None]:
    """No gradients, and the network in eval mode; the mode it had comes back."""
    was_training = is_training(model)
    set_training(model, False)
    try:
        with torch.no_grad():
            yield
    finally:
        set_training(model, was_training)


def predict(
    model: nn.Module,
    samples: Samples,
    batch_size: int = DEFAULT_BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Logits (N, n_classes), or (N, n_classes, H, W), of all samples in order; the network's mode stays as it was.

    `progress` is called after each batch with the number of samples that are done and of all.
    """
    logits: list[torch.Tensor] = []
    done = 0
    with inference_mode_of(model):
        for inputs in samples.batches(batch_size):
            logits.append(model(inputs))
            done += len(inputs)
            if progress is not None:
                progress(done, len(samples))
    return torch.cat(logits).to(torch.float32).numpy()


def top1(model: nn.Module, samples: Samples) -> float:
    """Share of samples, or of pixels, whose largest logit is that of their label; DataError without labels."""
    labels = samples.required_labels().numpy()
    right = predict(model, samples).argmax(axis=1) == labels
    return float(right[labels != IGNORED_LABEL].mean())
