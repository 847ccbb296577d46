"""The training loop, for eager networks and for captured ones with quantizers in them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from harness.data.augmentations import Augmentation, augmentations
from harness.data.samples import Samples
from harness.errors import DataError, StageError
from harness.training.average import MovingAverage, State, restore, snapshot
from harness.training.checkpoint import Checkpoint
from harness.training.inference import set_training, top1
from harness.training.log import EpochLog, TrainLog
from harness.training.recipe import Recipe
from harness.training.schedule import Schedule, schedule

Progress = Callable[[int, int], None]
"""Called after every step with steps done and steps in all."""
OnEpoch = Callable[[EpochLog], None]
BeforeStep = Callable[[int, int], None]
"""Called before every step with steps done and steps in all."""


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
) -> TrainLog:
    """Train `model` in place and leave it, in eval mode, with the weights of its best epoch on `validation`.

    `channels_last` changes speed (CPU kernels take a quarter to a third less time), and results only by rounding. Equal
    inputs, recipe and thread count give equal weights on one machine; torch's global random state is left alone.
    `teacher` is what `recipe.distillation` learns from. `before_step` may switch parts of the network; it is told steps
    done and steps in all. A file `checkpoint` is written after every epoch, and where there is one, training goes on
    from it to the same weights as without a break.
    Raises DataError without labels or samples, StageError when the loss stops being a number.
    """
    if len(train) == 0:
        raise DataError("there are no training samples", fix="raise `train_samples`, or lower `calibration_samples`")
    train.required_labels()
    if recipe.distillation is not None and teacher is None:
        raise StageError("`distillation` needs a teacher", fix="give `fit` the FP32 network, or leave it out")
    with _seeded(recipe.seed), _memory_format(model, channels_last):
        run = _Run(model, train, validation, recipe, progress, teacher, before_step)
        if checkpoint is not None:
            run.resume(checkpoint)
        return run.run(on_epoch, checkpoint)


class _Run:
    """One training run."""

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        validation: Samples,
        recipe: Recipe,
        progress: Progress | None,
        teacher: nn.Module | None,
        before_step: BeforeStep | None,
    ) -> None:
        self.model, self.train, self.validation, self.recipe = model, train, validation, recipe
        self.progress, self.teacher, self.before_step = progress, teacher, before_step
        self.transforms: tuple[Augmentation, ...] = augmentations(recipe.augmentations)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.batch_size = min(recipe.batch_size, len(train))
        self.steps_per_epoch = len(train) // self.batch_size
        self.schedule: Schedule = schedule(recipe, self.steps_per_epoch)
        self.optimizer = make_optimizer(model, recipe)
        self.average = MovingAverage(model) if recipe.ema else None
        self.step = 0
        self.epochs: list[EpochLog] = []
        self.best_state = State()

    @property
    def best_epoch(self) -> EpochLog | None:
        """The first epoch with the highest validation accuracy so far."""
        return max(self.epochs, key=lambda epoch: epoch.validation_top1, default=None)

    @property
    def is_done(self) -> bool:
        """All epochs are over, or the last ones brought nothing."""
        patience, best = self.recipe.early_stop_epochs, self.best_epoch
        stalled = patience is not None and best is not None and len(self.epochs) - best.epoch >= patience
        return stalled or len(self.epochs) >= self.recipe.max_epochs

    def run(self, on_epoch: OnEpoch | None, checkpoint: Path | None) -> TrainLog:
        while not self.is_done:
            self._train_and_validate(len(self.epochs) + 1)
            if checkpoint is not None:
                self._checkpoint().save(checkpoint)
            if on_epoch is not None:
                on_epoch(self.epochs[-1])
        restore(self.model, self.best_state)
        set_training(self.model, False)
        assert self.best_epoch is not None
        return TrainLog(
            epochs=tuple(self.epochs),
            best_epoch=self.best_epoch.epoch,
            train_samples=len(self.train),
            validation_samples=len(self.validation),
            steps=self.step,
            seconds=sum(epoch.seconds for epoch in self.epochs),
        )

    def resume(self, checkpoint: Path) -> None:
        """Go on where a run with the same inputs was interrupted, if it was."""
        found = Checkpoint.load(checkpoint)
        if found is None:
            return
        restore(self.model, found.model)
        found.restore_optimizer(self.optimizer)
        self.generator.set_state(found.generator)
        torch.set_rng_state(found.global_generator)
        self.step, self.epochs, self.best_state = found.step, list(found.epochs), found.best
        if self.average is not None:
            self.average.load(found.average_updates, found.average)

    def _checkpoint(self) -> Checkpoint:
        updates, average = self.average.state() if self.average is not None else (0, State())
        return Checkpoint(
            step=self.step,
            epochs=tuple(self.epochs),
            model=snapshot(self.model),
            best=self.best_state,
            average=average,
            average_updates=updates,
            optimizer=self.optimizer.state_dict(),
            generator=self.generator.get_state(),
            global_generator=torch.get_rng_state(),
        )

    def _train_and_validate(self, number: int) -> None:
        start = time.perf_counter()
        loss = self._epoch()
        best = self.best_epoch
        with self.average.applied() if self.average else nullcontext():
            accuracy = top1(self.model, self.validation)
            if best is None or accuracy > best.validation_top1:
                self.best_state = snapshot(self.model)
        seconds, lr = time.perf_counter() - start, self.schedule.lr(self.step - 1)
        self.epochs.append(EpochLog(epoch=number, loss=loss, validation_top1=accuracy, lr=lr, seconds=seconds))

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
        if self.before_step is not None:
            self.before_step(self.step, self.schedule.total_steps)
        images = self.train.images[indices]
        for transform in self.transforms:
            images = transform(images, self.generator)
        loss = self._loss(self.train.normalise(images), self.train.required_labels()[indices])
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

    def _loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.model(inputs)
        hard = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        distillation = self.recipe.distillation
        if distillation is None or self.teacher is None:
            return hard
        with torch.no_grad():
            targets = F.log_softmax(self.teacher(inputs) / distillation.temperature, dim=1)
        softened = F.log_softmax(logits / distillation.temperature, dim=1)
        divergence = F.kl_div(softened, targets, reduction="batchmean", log_target=True)
        return torch.lerp(hard, divergence * distillation.temperature**2, distillation.weight)

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
