"""The training loop, for eager networks and for captured ones with quantizers in them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from harness.data.augmentations import Augmentation, augmentations
from harness.data.samples import Samples
from harness.errors import DataError, StageError
from harness.training.average import MovingAverage, State, restore, snapshot
from harness.training.inference import set_training, top1
from harness.training.log import EpochLog, TrainLog
from harness.training.recipe import Recipe
from harness.training.schedule import Schedule, schedule

Progress = Callable[[int, int], None]
"""Called after every step with steps done and steps in all."""
OnEpoch = Callable[[EpochLog], None]


def fit(
    model: nn.Module,
    train: Samples,
    validation: Samples,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    channels_last: bool = True,
) -> TrainLog:
    """Train `model` in place and leave it, in eval mode, with the weights of its best epoch on `validation`.

    `channels_last` changes speed (CPU kernels take a quarter to a third less time), and results only by rounding. Equal
    inputs, recipe and thread count give equal weights on one machine; torch's global random state is left alone.
    Raises DataError without labels or samples, StageError when the loss stops being a number.
    """
    if len(train) == 0:
        raise DataError("there are no training samples", fix="raise `train_samples`, or lower `calibration_samples`")
    train.required_labels()
    with _seeded(recipe.seed), _memory_format(model, channels_last):
        return _Run(model, train, validation, recipe, progress).run(on_epoch)


class _Run:
    """One training run."""

    def __init__(
        self, model: nn.Module, train: Samples, validation: Samples, recipe: Recipe, progress: Progress | None
    ) -> None:
        self.model, self.train, self.validation, self.recipe = model, train, validation, recipe
        self.progress = progress
        self.transforms: tuple[Augmentation, ...] = augmentations(recipe.augmentations)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.batch_size = min(recipe.batch_size, len(train))
        self.steps_per_epoch = len(train) // self.batch_size
        self.schedule: Schedule = schedule(recipe, self.steps_per_epoch)
        self.optimizer = make_optimizer(model, recipe)
        self.average = MovingAverage(model) if recipe.ema else None
        self.step = 0

    def run(self, on_epoch: OnEpoch | None) -> TrainLog:
        start = time.perf_counter()
        epochs: list[EpochLog] = []
        best, best_state = -1.0, State()
        for number in range(1, self.recipe.max_epochs + 1):
            epoch_start = time.perf_counter()
            loss = self._epoch()
            with self.average.applied() if self.average else nullcontext():
                accuracy = top1(self.model, self.validation)
                if accuracy > best:
                    best, best_state = accuracy, snapshot(self.model)
            seconds = time.perf_counter() - epoch_start
            lr = self.schedule.lr(self.step - 1)
            epochs.append(EpochLog(epoch=number, loss=loss, validation_top1=accuracy, lr=lr, seconds=seconds))
            if on_epoch is not None:
                on_epoch(epochs[-1])
        restore(self.model, best_state)
        set_training(self.model, False)
        return TrainLog(
            epochs=tuple(epochs),
            best_epoch=next(epoch.epoch for epoch in epochs if epoch.validation_top1 == best),
            train_samples=len(self.train),
            validation_samples=len(self.validation),
            steps=self.step,
            seconds=time.perf_counter() - start,
        )

    def _epoch(self) -> float:
        """One pass over the training samples; the mean loss."""
        set_training(self.model, True)
        losses = [self._step(indices) for indices in self._batches()]
        return sum(losses) / len(losses)

    def _batches(self) -> Iterator[torch.Tensor]:
        """Shuffled indices; what does not fill a batch is left out, and is other samples in the next epoch."""
        order = torch.randperm(len(self.train), generator=self.generator)
        for start in range(0, self.steps_per_epoch * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def _step(self, indices: torch.Tensor) -> float:
        lr = self.schedule.lr(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        images = self.train.images[indices]
        for transform in self.transforms:
            images = transform(images, self.generator)
        logits = self.model(self.train.normalise(images))
        labels = self.train.required_labels()[indices]
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self._check(loss.item())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update()
        if self.progress is not None:
            self.progress(self.step, self.schedule.total_steps)
        return loss.item()

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise StageError(
                f"training diverged: the loss is {loss} at step {self.step + 1} of {self.schedule.total_steps}",
                fix=f"lower `initial_lr` (it is {self.recipe.initial_lr:g}), or warm up longer",
            )


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe; StageError for a network without anything to train."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise StageError("the network has no parameters to train", fix="check the model factory")
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        # Biases, batch norm and quantization ranges: decay would shrink what the other weights make up for.
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.initial_lr)
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.initial_lr, momentum=recipe.momentum, nesterov=nesterov)


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
