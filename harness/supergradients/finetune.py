"""Training from torch data loaders, as one does in a program of one's own; scenarios train with `loop.fit`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from harness.errors import DataError, UsageError, unknown_name
from harness.quantization.network import QuantizedNetwork
from harness.quantization.qat.graph import training_graph, write_back
from harness.results import BatchNormMode
from harness.training.inference import inference_mode_of
from harness.training.log import TrainLog
from harness.training.run import Batch, Loss, OnEpoch, TrainingRun
from harness.training.settings import Recipe

_OF_THE_LOADER = ("batch_size", "augmentations")
"""Keys of a recipe that a loader decides."""


def finetune(
    model: QuantizedNetwork,
    train_loader: Iterable[Any],
    valid_loader: Iterable[Any],
    training_params: Recipe | Mapping[str, Any],
    *,
    loss: Loss | None = None,
    teacher: nn.Module | None = None,
    batch_norm: BatchNormMode = "folded",
    checkpoint: Path | str | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainLog:
    """QAT: train a quantized and calibrated network in place, and leave it with the weights of its best epoch.

    The loaders give (inputs, targets). `training_params` holds the values for QAT as they are; `qat_recipe` makes them
    from those of FP32 training. `loss` is cross entropy by default. `teacher`
    is the FP32 network that `distillation` learns from. `batch_norm` says how it takes part in training;
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
    log = fit_loaders(graph, train_loader, valid_loader, recipe, loss=loss, teacher=teacher, on_epoch=on_epoch)
    write_back(graph, model.prepared)
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
    teacher: nn.Module | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainLog:
    """Train any network in place; its best epoch on `valid_loader` is kept. The loaders decide batches and order."""
    if recipe.distillation is not None and teacher is None:
        raise UsageError("`distillation` needs a teacher", fix="give `teacher`, the FP32 network, or leave it out")
    return _LoaderRun(model, train_loader, valid_loader, recipe, loss, teacher).run(on_epoch)


class _LoaderRun(TrainingRun):
    """A run over data loaders."""

    def __init__(
        self,
        model: nn.Module,
        train_loader: Iterable[Any],
        valid_loader: Iterable[Any],
        recipe: Recipe,
        loss: Loss | None,
        teacher: nn.Module | None,
    ) -> None:
        self.train_loader, self.valid_loader = train_loader, valid_loader
        self.train_samples = self.validation_samples = 0
        super().__init__(model, recipe, _length(train_loader), loss=loss, teacher=teacher)

    def batches(self) -> Iterator[Batch]:
        """Those of the training loader, as they come."""
        self.train_samples = 0
        for inputs, targets in _batches(self.train_loader, "training"):
            self.train_samples += len(inputs)
            yield inputs, targets

    def validate(self) -> float:
        """Top-1 on the validation loader."""
        accuracy, self.validation_samples = loader_top1(self.model, self.valid_loader)
        return accuracy


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
        return parameters
    for key in parameters:
        if key in _OF_THE_LOADER:
            raise UsageError(f"`{key}` of `training_params` is decided by the loader", fix=f"delete `{key}`")
        if key not in Recipe.model_fields:
            message, fix = unknown_name("key in `training_params`", key, Recipe.model_fields)
            raise UsageError(message, fix=fix)
    try:
        return Recipe.model_validate(dict(parameters))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UsageError(
            f"`{place}` of `training_params`: {problem['msg'].lower()}", fix=f"correct `{place}`"
        ) from None


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
