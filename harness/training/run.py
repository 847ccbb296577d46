"""One training run: epochs, the best of them, early stop, and checkpoints, wherever the batches come from."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from hashlib import sha256
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from harness import version
from harness.errors import StageError
from harness.training.average import MovingAverage, State, restore, snapshot
from harness.training.checkpoint import Checkpoint, UnusableCheckpoint
from harness.training.inference import set_training
from harness.training.log import EpochLog, TrainLog
from harness.training.schedule import LearningRateSchedule, schedule
from harness.training.settings import Recipe

Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs of the network, and what its outputs are compared with."""
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Progress = Callable[[int, int], None]
"""Called after every step with steps done and steps in all."""
OnEpoch = Callable[[EpochLog], None]
Note = Callable[[str], None]
"""Called with what the user should know."""
BeforeStep = Callable[[int, int], None]
"""Called before every step with steps done and steps in all."""


class TrainingRun(ABC):
    """Trains a network in place by a recipe; subclasses say where batches and validation come from."""

    train_samples: int
    """Training samples of an epoch."""
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
        self.schedule: LearningRateSchedule = schedule(recipe, steps_per_epoch)
        self.optimizer = make_optimizer(model, recipe)
        self.average = MovingAverage(model) if recipe.ema else None
        self.step = 0
        self.epochs: list[EpochLog] = []
        self.best_state = State()
        self._begun_with = ""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """The batches of one epoch."""

    @abstractmethod
    def validate(self) -> float:
        """Share of the validation samples, or of their pixels, whose largest logit is that of their label."""

    def data(self) -> Iterator[torch.Tensor]:
        """What is trained on and validated with, where it is at hand; checkpoints of other data are not used."""
        yield from ()

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

    def run(
        self, on_epoch: OnEpoch | None = None, checkpoint: Path | None = None, note: Note | None = None
    ) -> TrainLog:
        """Train to the end and leave the network, in eval mode, with the weights of its best epoch."""
        while not self.is_done:
            self._train_and_validate(len(self.epochs) + 1)
            if checkpoint is not None:
                self._save(checkpoint, note)
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

    def resume(self, checkpoint: Path, note: Note | None = None) -> None:
        """Go on where a run with the same inputs was interrupted, if it was; `note` is given what was found.

        A checkpoint that is damaged, or that another run wrote, is removed.
        """
        say = note or _ignore
        self._begun_with = self._identity()
        try:
            found = Checkpoint.load(checkpoint, self._begun_with)
        except UnusableCheckpoint as error:
            say(f"the checkpoint of a run that was stopped is not used: {error}; training starts again")
            with suppress(OSError):
                checkpoint.unlink()
            return
        if found is None:
            return
        say("going on from the last finished epoch of a run that was stopped")
        restore(self.model, found.model)
        found.restore_optimizer(self.optimizer)
        self.generator.set_state(found.generator)
        torch.set_rng_state(found.global_generator)
        self.step, self.epochs, self.best_state = found.step, list(found.epochs), found.best
        if self.average is not None:
            self.average.load(found.average_updates, found.average)

    def _save(self, checkpoint: Path, note: Note | None) -> None:
        try:
            self._checkpoint().save(checkpoint, self._begun_with)
        except OSError as error:  # a convenience, which must not end what it is for
            (note or _ignore)(f"no checkpoint could be written ({error.strerror})")

    def _identity(self) -> str:
        """Over all that the run begins with; a checkpoint of another run differs in it."""
        total = sha256(f"{self.recipe.model_dump_json()} {self.schedule.total_steps}\n".encode())
        total.update(f"{torch.__version__} {version.__version__}\n".encode())
        for tensor in (*self.model.state_dict().values(), *self.data()):
            total.update(f"{tuple(tensor.shape)} {tensor.dtype}\n".encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()

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


def _ignore(text: str) -> None:
    return


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
