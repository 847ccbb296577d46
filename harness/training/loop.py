"""The training loop, for eager networks and for captured ones with quantizers in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import nn

from harness.data.augmentations import Augmentation, augmentations
from harness.data.samples import Samples
from harness.data.tasks import IGNORED_LABEL
from harness.errors import DataError, StageError
from harness.training.inference import top1
from harness.training.log import TrainLog
from harness.training.run import Batch, BeforeStep, Note, OnEpoch, Progress, TrainingRun
from harness.training.settings import Recipe

_CONVOLUTION_RANK = 4
_ONEDNN_BLOCK = 16
"""Channels that oneDNN's AVX-512 kernels process at once."""


def fit(
    model: nn.Module,
    train: Samples,
    validation: Samples,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    channels_last: bool = True,
    teacher: nn.Module | None = None,
    before_step: BeforeStep | None = None,
    checkpoint: Path | None = None,
    note: Note | None = None,
) -> TrainLog:
    """Train `model` in place and leave it, in eval mode, with the weights of its best epoch on `validation`.

    `channels_last` changes speed (CPU kernels take a quarter to a third less time), and results only by rounding. Equal
    inputs, recipe and thread count give equal weights on one machine; torch's global random state is left alone.
    `teacher` is what `recipe.distillation` learns from. `before_step` may switch parts of the network; it is told steps
    done and steps in all. A file `checkpoint` is written after every epoch, and where there is one, training goes on
    from it to the same weights as without a break; from a damaged one it does not, and starts again. `note` is given
    what there is to say of it.
    Raises DataError without labels or samples, StageError when the loss stops being a number.
    """
    if len(train) == 0:
        raise DataError("there are no training samples", fix="raise `train_samples`, or lower `calibration_samples`")
    train.required_labels()
    if recipe.distillation is not None and teacher is None:
        raise StageError("`distillation` needs a teacher", fix="give `fit` the FP32 network, or leave it out")
    kernels = torch.backends.mkldnn.flags(enabled=False) if _onednn_crashes(model) else nullcontext()
    with _seeded(recipe.seed), _memory_format(model, channels_last), kernels:
        run = _SamplesRun(model, train, validation, recipe, progress=progress, teacher=teacher, before_step=before_step)
        if checkpoint is not None:
            run.resume(checkpoint, note)
        return run.run(on_epoch, checkpoint, note)


class _SamplesRun(TrainingRun):
    """A run over samples in memory."""

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        validation: Samples,
        recipe: Recipe,
        *,
        progress: Progress | None,
        teacher: nn.Module | None,
        before_step: BeforeStep | None,
    ) -> None:
        self.train, self.validation = train, validation
        self.train_samples, self.validation_samples = len(train), len(validation)
        self.transforms: tuple[Augmentation, ...] = augmentations(recipe.augmentations)
        self.batch_size = min(recipe.batch_size, len(train))
        self.steps_per_epoch = len(train) // self.batch_size
        super().__init__(
            model, recipe, self.steps_per_epoch, progress=progress, teacher=teacher, before_step=before_step
        )

    def batches(self) -> Iterator[Batch]:
        """Shuffled and augmented; what does not fill a batch is left out, and is other samples in the next epoch."""
        order = torch.randperm(len(self.train), generator=self.generator)
        for start in range(0, self.steps_per_epoch * self.batch_size, self.batch_size):
            indices = order[start : start + self.batch_size]
            images, labels = self.train.images[indices], self.train.required_labels()[indices]
            for transform in self.transforms:
                if labels.ndim > 1:
                    labels = _moved_alike(labels, transform, self.generator)
                images = transform(images, self.generator)
            yield self.train.normalise(images), labels

    def data(self) -> Iterator[torch.Tensor]:
        """Images and labels of both parts."""
        for samples in (self.train, self.validation):
            yield from (samples.images, samples.required_labels())

    def validate(self) -> float:
        """Top-1 on the validation samples."""
        return top1(self.model, self.validation)


def _moved_alike(labels: torch.Tensor, transform: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Labels of pixels (N, H, W) moved as the images are about to be; what comes in from outside has no class."""
    same = torch.Generator()
    same.set_state(generator.get_state())
    return transform((labels - IGNORED_LABEL).unsqueeze(1), same).squeeze(1) + IGNORED_LABEL


def _onednn_crashes(model: nn.Module) -> bool:
    """Whether oneDNN may crash: in the backward pass of narrow convolutions.

    Seen with torch 2.13, in eager networks too: 4 or 8 channels, 25 samples and 2 threads on a CPU with AVX-512;
    4 channels in channels-last order, whatever the samples and threads, on one with AVX2 alone.
    """
    weights = (parameter for parameter in model.parameters() if parameter.ndim == _CONVOLUTION_RANK)
    return any(weight.shape[0] < _ONEDNN_BLOCK for weight in weights)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Dropout draws from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _memory_format(model: nn.Module, channels_last: bool) -> Iterator[None]:
    """4-D weights in channels-last order inside the block, which makes CPU convolutions pick the faster layout."""
    if not channels_last:
        yield
        return
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
