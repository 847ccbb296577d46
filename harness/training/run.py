"""One training run: epochs, the best of them, early stop, and checkpoints, wherever the batches come from."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from harness.errors import StageError
from harness.training.average import MovingAverage, State, restore, snapshot
from harness.training.checkpoint import Checkpoint
from harness.training.inference import set_training
from harness.training.log import EpochLog, TrainLog
from harness.training.recipe import Recipe
from harness.training.schedule import Schedule, schedule

Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs of the network, and what its outputs are compared with."""
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Progress = Callable[[int, int], None]
"""Called after every step with steps done and steps in all."""
OnEpoch = Callable[[EpochLog], None]
BeforeStep = Callable[[int, int], None]
"""Called before every step with steps done and steps in all."""


class TrainingRun(ABC):
    """Trains a network in place by a recipe; subclasses say where batches and validation come from."""

    train_samples: int
    """Of an epoch."""
    validation_samples: int

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps_per_epoch: int,
        *,
        loss: Loss | None = None,
        progress: Progress | None = None,
        teacher: nn.Module | None = None,
        before_step: BeforeStep | None = None,
    ) -> None:
        self.model, self.recipe = model, recipe
        self.loss = loss or self._cross_entropy
        self.progress, self.teacher, self.before_step = progress, teacher, before_step
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.schedule: Schedule = schedule(recipe, steps_per_epoch)
        self.optimizer = make_optimizer(model, recipe)
        self.average = MovingAverage(model) if recipe.ema else None
        self.step = 0
        self.epochs: list[EpochLog] = []
        self.best_state = State()

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """The batches of one epoch."""

    @abstractmethod
    def validate(self) -> float:
        """Share of the validation samples, or of their pixels, whose largest logit is that of their label."""

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

    def run(self, on_epoch: OnEpoch | None = None, checkpoint: Path | None = None) -> TrainLog:
        """Train to the end and leave the network, in eval mode, with the weights of its best epoch."""
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
            train_samples=self.train_samples,
            validation_samples=self.validation_samples,
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
        set_training(self.model, True)
        losses = [self._step(inputs, labels) for inputs, labels in self.batches()]
        best = self.best_epoch
        with self.average.applied() if self.average else nullcontext():
            accuracy = self.validate()
            if best is None or accuracy > best.validation_top1:
                self.best_state = snapshot(self.model)
        self.epochs.append(
            EpochLog(
                epoch=number,
                loss=sum(losses) / len(losses),
                validation_top1=accuracy,
                lr=self._lr(self.step - 1),
                seconds=time.perf_counter() - start,
            )
        )

    def _lr(self, step: int) -> float:
        """A loader may give more batches than its length says."""
        return self.schedule.lr(min(step, self.schedule.total_steps - 1))

    def _step(self, inputs: torch.Tensor, labels: torch.Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.step)
        if self.before_step is not None:
            self.before_step(self.step, self.schedule.total_steps)
        loss = self._total_loss(inputs, labels)
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

    def _total_loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.model(inputs)
        hard = self.loss(logits, labels)
        distillation = self.recipe.distillation
        if distillation is None or self.teacher is None:
            return hard
        with torch.no_grad():
            targets = F.log_softmax(self.teacher(inputs) / distillation.temperature, dim=1)
        softened = F.log_softmax(logits / distillation.temperature, dim=1)
        per_class = F.kl_div(softened, targets, reduction="none", log_target=True)
        divergence = per_class.sum(dim=1).mean()  # over samples, and over pixels where they are classified
        return torch.lerp(hard, divergence * distillation.temperature**2, distillation.weight)

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

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
