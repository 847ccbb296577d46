"""Training from torch data loaders, as one does in a program of one's own; scenarios train with `loop.fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from harness.errors import DataError, StageError, UsageError, unknown_name
from harness.quantization.network import QuantizedNetwork
from harness.quantization.qat import BatchNormMode, settle, training_graph
from harness.training.average import MovingAverage, State, restore, snapshot
from harness.training.inference import inference_mode_of, set_training
from harness.training.log import EpochLog, TrainLog
from harness.training.loop import OnEpoch, make_optimizer
from harness.training.recipe import Recipe
from harness.training.schedule import schedule

Batch = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_OF_THE_LOADER = ("batch_size", "augmentations")
"""Keys of a recipe that a loader decides."""


def finetune(
    model: QuantizedNetwork,
    train_loader: Iterable[Any],
    valid_loader: Iterable[Any],
    training_params: Recipe | Mapping[str, Any],
    *,
    loss: Loss | None = None,
    batch_norm: BatchNormMode = "folded",
    checkpoint: Path | str | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainLog:
    """QAT: train a quantized and calibrated network in place, and leave it with the weights of its best epoch.

    The loaders give (inputs, targets). `training_params` holds the values for QAT as they are; `qat_recipe` makes them
    from those of FP32 training. `loss` is cross entropy by default. `batch_norm` says how it takes part in training;
    afterwards it is folded. `checkpoint` is a file for the best weights and ranges. Raises UsageError for parameters
    that make no sense, StageError for a network that is not calibrated or a loss that stops being a number, DataError
    for loaders without usable batches.
    """
    if not isinstance(model, QuantizedNetwork):
        fix = "fine-tune what `SelectiveQuantizer.quantize_module` returns"
        raise UsageError(f"{type(model).__name__} is not quantized", fix=fix)
    model.require_calibrated("QAT")
    graph = training_graph(model.prepared, batch_norm=batch_norm, learn_ranges=model.learn_ranges)
    recipe = _recipe(training_params)
    log = fit_loaders(graph, train_loader, valid_loader, recipe, loss=loss, on_epoch=on_epoch)
    settle(graph, model.prepared)
    model.eval()
    if checkpoint is not None:
        Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
        model.save(checkpoint)
    return log


def fit_loaders(
    model: nn.Module,
    train_loader: Iterable[Any],
    valid_loader: Iterable[Any],
    recipe: Recipe,
    *,
    loss: Loss | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainLog:
    """Train any network in place; its best epoch on `valid_loader` is kept. The loaders decide batches and order."""
    return _LoaderRun(model, train_loader, valid_loader, recipe, loss or _cross_entropy(recipe)).run(on_epoch)


class _LoaderRun:
    """One training run."""

    def __init__(
        self, model: nn.Module, train_loader: Iterable[Any], valid_loader: Iterable[Any], recipe: Recipe, loss: Loss
    ) -> None:
        self.model, self.train_loader, self.valid_loader = model, train_loader, valid_loader
        self.recipe, self.loss = recipe, loss
        self.schedule = schedule(recipe, _length(train_loader))
        self.optimizer = make_optimizer(model, recipe)
        self.average = MovingAverage(model) if recipe.ema else None
        self.step = 0

    def run(self, on_epoch: OnEpoch | None) -> TrainLog:
        started = time.perf_counter()
        epochs: list[EpochLog] = []
        best, best_state = -1.0, State()
        train_samples = validation_samples = 0
        for number in range(1, self.recipe.max_epochs + 1):
            if self._has_stalled(epochs):
                break
            epoch_started = time.perf_counter()
            loss, train_samples = self._epoch()
            with self.average.applied() if self.average else nullcontext():
                accuracy, validation_samples = loader_top1(self.model, self.valid_loader)
                if accuracy > best:
                    best, best_state = accuracy, snapshot(self.model)
            seconds = time.perf_counter() - epoch_started
            lr = self._lr(self.step - 1)
            epochs.append(EpochLog(epoch=number, loss=loss, validation_top1=accuracy, lr=lr, seconds=seconds))
            if on_epoch is not None:
                on_epoch(epochs[-1])
        restore(self.model, best_state)
        set_training(self.model, False)
        return TrainLog(
            epochs=tuple(epochs),
            best_epoch=next(epoch.epoch for epoch in epochs if epoch.validation_top1 == best),
            train_samples=train_samples,
            validation_samples=validation_samples,
            steps=self.step,
            seconds=time.perf_counter() - started,
        )

    def _has_stalled(self, epochs: list[EpochLog]) -> bool:
        """Whether the last epochs brought nothing."""
        patience = self.recipe.early_stop_epochs
        best = max(epochs, key=lambda epoch: epoch.validation_top1, default=None)
        return patience is not None and best is not None and len(epochs) - best.epoch >= patience

    def _epoch(self) -> tuple[float, int]:
        """One pass over the loader; the mean loss and the number of samples."""
        set_training(self.model, True)
        losses, samples = [], 0
        for inputs, targets in _batches(self.train_loader, "training"):
            losses.append(self._step(inputs, targets))
            samples += len(inputs)
        return sum(losses) / len(losses), samples

    def _step(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.step)
        loss = self.loss(self.model(inputs), targets)
        if not math.isfinite(loss.item()):
            raise StageError(
                f"training diverged: the loss is {loss.item()} at step {self.step + 1}",
                fix=f"lower `initial_lr` (it is {self.recipe.initial_lr:g}), or warm up longer",
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update()
        return loss.item()

    def _lr(self, step: int) -> float:
        """A loader may give more batches than its length says."""
        return self.schedule.lr(min(step, self.schedule.total_steps - 1))


def loader_top1(model: nn.Module, loader: Iterable[Any]) -> tuple[float, int]:
    """Share of samples whose largest logit is that of their label, and the number of samples."""
    right = count = 0
    with inference_mode_of(model):
        for inputs, targets in _batches(loader, "validation"):
            right += int((model(inputs).argmax(dim=1) == targets).sum())
            count += len(inputs)
    return right / count, count


def _recipe(parameters: Recipe | Mapping[str, Any]) -> Recipe:
    if isinstance(parameters, Recipe):
        return _without_distillation(parameters)
    for key in parameters:
        if key in _OF_THE_LOADER:
            raise UsageError(f"`{key}` of `training_params` is decided by the loader", fix=f"delete `{key}`")
        if key not in Recipe.model_fields:
            message, fix = unknown_name("key in `training_params`", key, Recipe.model_fields)
            raise UsageError(message, fix=fix)
    try:
        return _without_distillation(Recipe.model_validate(dict(parameters)))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UsageError(
            f"`{place}` of `training_params`: {problem['msg'].lower()}", fix=f"correct `{place}`"
        ) from None


def _without_distillation(recipe: Recipe) -> Recipe:
    if recipe.distillation is not None:
        fix = "leave `distillation` out, and give a `loss` of your own, or use a scenario"
        raise UsageError("`distillation` needs a teacher, which loaders do not give", fix=fix)
    return recipe


def _cross_entropy(recipe: Recipe) -> Loss:
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


def _length(loader: Iterable[Any]) -> int:
    try:
        length = len(loader)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(
            "the training loader has no length, which the learning rate schedule needs",
            fix="give a loader over a data set with a length",
        ) from None
    if length == 0:
        raise DataError("the training loader has no batch", fix="give more samples, or a smaller batch")
    return length


def _batches(loader: Iterable[Any], what: str) -> Iterator[Batch]:
    """(inputs, targets) of every batch; DataError for a loader that gives anything else, or nothing."""
    empty = True
    for batch in loader:
        empty = False
        if not (isinstance(batch, list | tuple) and len(batch) >= 2 and all(map(torch.is_tensor, batch[:2]))):
            raise DataError(f"the {what} loader gave {type(batch).__name__}", fix="let it give (inputs, targets)")
        yield batch[0], batch[1]
    if empty:
        raise DataError(f"the {what} loader gave no batch", fix="give a loader with at least one batch")
