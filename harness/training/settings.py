"""How networks are made and trained: the settings of a scenario, the recipe of one training run, and QAT's changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from harness.errors import ModelError
from harness.fields import (
    Count,
    Fraction,
    Listed,
    Name,
    NonNegative,
    Positive,
    Ratio,
    Section,
    Seed,
    Share,
    Unit,
    WholeNumber,
)
from harness.paths import expanded
from harness.plugin_names import PluginName

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class FactoryName(NamedTuple):
    """`FILE.py:FUNCTION` or `package.module:FUNCTION`, taken apart."""

    place: str
    function: str

    @property
    def is_file(self) -> bool:
        """A file, not an importable module."""
        return self.place.endswith(".py")

    def file(self, root: Path) -> Path:
        """The file; relative paths start at `root`."""
        return (root / expanded(self.place)).resolve()


def parse_factory(text: str) -> FactoryName:
    """Take the text apart; ModelError when it is not a factory's."""
    name = FactoryName(*text.rpartition(":")[::2])
    if not name.function.isidentifier() or not (name.is_file or _MODULE.fullmatch(name.place)):
        fix = "write `FILE.py:FUNCTION` or `package.module:FUNCTION`"
        raise ModelError(f"`{text}` is not a model factory", fix=fix)
    return name


def _factory_text(text: str) -> str:
    try:
        parse_factory(text)
    except ModelError as error:
        context = {"message": error.message, "fix": error.fix}
        raise PydanticCustomError("factory", "{message}", context) from None
    return text


FactoryText = Annotated[str, AfterValidator(_factory_text)]
"""`FILE.py:FUNCTION` or `package.module:FUNCTION`."""


class Hyperparameters(Section):
    """What a training run does, wherever it is asked for."""

    max_epochs: Annotated[Count, Unit("epoch")] = 8
    """Passes over the training samples."""
    batch_size: Annotated[Count, Unit("sample")] = 128
    """Samples per optimizer step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Update rule; `sgd` is with Nesterov momentum."""
    initial_lr: Positive = 0.1
    """Learning rate after warm-up, from which the cosine schedule falls."""
    momentum: Fraction = 0.9
    """For `sgd` only."""
    weight_decay: NonNegative = 0.0005
    """For either optimizer; biases, batch norm and quantization ranges are not decayed."""
    lr_warmup_epochs: Annotated[WholeNumber, Unit("epoch")] = 1
    """Epochs over which the learning rate rises linearly to `initial_lr`; 0 for none, at most `max_epochs`."""
    warmup_initial_lr: NonNegative = 0.01
    """Learning rate of the first warm-up step."""
    cosine_final_lr_ratio: Ratio = 0.01
    """Learning rate of the last step, as a share of `initial_lr`."""
    label_smoothing: Fraction = 0.0
    """Share of the target probability that is spread over all classes."""
    augmentations: Listed[Name] = ("random_crop", "horizontal_flip")
    """Random transforms of the training samples, in order; `[]` for none. Calibration and test never use them."""
    ema: bool = False
    """Evaluate and keep an exponential moving average of the weights."""


class Distillation(Section):
    """Learn from the outputs of the FP32 network too: (1 - weight) * cross entropy + weight * T^2 * KL divergence.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
    """

    weight: Ratio = 0.5
    """Share of the divergence in the loss."""
    temperature: Positive = 4.0
    """T, which softens both outputs."""


class Recipe(Hyperparameters):
    """Everything that decides the weights, besides network, data and thread count."""

    seed: Seed = 0
    """Seed of shuffling, augmentation and dropout."""
    early_stop_epochs: Annotated[Count, Unit("epoch")] | None = None
    """Stop after so many epochs without a better validation accuracy; None: never."""
    distillation: Distillation | None = None
    """Learn from a teacher's outputs too; `fit` must then be given the teacher."""


class Training(Hyperparameters):
    """How the FP32 baseline is trained. QAT starts from the same values, changed by `qat_params`."""

    factory: PluginName | None = None
    """[A training loop of your own](plugins/training-loop.md) for the FP32 baseline, `FILE.py:NAME`; empty: the
    harness's. QAT keeps the harness's loop."""

    def recipe(self, seed: int) -> Recipe:
        """The recipe of the FP32 baseline."""
        return Recipe.model_validate(self.model_dump(exclude={"factory"}) | {"seed": seed})


class QATParams(Section):
    """How `training` is changed for QAT; the keys and defaults of SuperGradients' `QATRecipeModificationCallback`.

    `batch_size_rule` and the keys after `disable_augmentations` are additions of this harness.
    """

    batch_size_divisor: Count = 2
    """QAT batch size = `batch_size` // this, at least 1."""
    batch_size_rule: Literal["always", "learned_ranges"] = "always"
    """When `batch_size_divisor` counts: `always`, as SuperGradients' documentation says, or with `learn_amax` only, as
    its code does."""
    max_epochs_divisor: Count = 10
    """QAT epochs = `max_epochs` // this, at least 1."""
    lr_decay_factor: Ratio = 0.01
    """Multiplies `initial_lr`, `warmup_initial_lr` and `weight_decay`."""
    warmup_epochs_divisor: Count = 10
    """QAT warm-up = QAT epochs // this, at least 1 epoch."""
    cosine_final_lr_ratio: Ratio = 0.01
    """Replaces `training.cosine_final_lr_ratio`."""
    disable_phase_callbacks: bool = True
    """Accepted so that a recipe's block can be pasted: training here has no phase callbacks to disable."""
    disable_augmentations: bool = False
    """Fine-tune without `training.augmentations`."""
    freeze_batch_norm_after: Share = 0.5
    """Share of the QAT steps after which `batch_norm: live` uses its statistics instead of updating them."""
    freeze_observers_after: Share = 0.0
    """Share of the QAT steps in which activation ranges follow a moving average of the batches' minimum and maximum;
    0: PTQ's ranges stay. Rows with `learn_amax` learn their ranges instead."""
    early_stop_epochs: Annotated[Count, Unit("epoch")] | None = None
    """Stop after so many epochs without a better validation accuracy; empty: never."""
    distillation: Distillation | None = None
    """Empty: labels only."""


class PreLaunchCallback(Section):
    """An entry of a SuperGradients recipe's list; `qat_params` holds the same keys."""

    QATRecipeModificationCallback: QATParams
    """The keys of [`qat_params`](#qat_params)."""


def qat_recipe(recipe: Recipe, params: QATParams, *, learned_ranges: bool = False) -> Recipe:
    """The recipe that fine-tunes a quantized network which `recipe` trained.

    Source: SuperGradients, `QATRecipeModificationCallback`: E // 10 epochs but at least 1, a tenth of those for warm-up
    but at least 1, rates and weight decay x 0.01, no moving average; augmentations stay unless the params say
    otherwise.
    """
    max_epochs = max(1, recipe.max_epochs // params.max_epochs_divisor)
    divides = params.batch_size_rule == "always" or learned_ranges
    return recipe.model_copy(
        update={
            "max_epochs": max_epochs,
            "batch_size": max(1, recipe.batch_size // (params.batch_size_divisor if divides else 1)),
            "initial_lr": recipe.initial_lr * params.lr_decay_factor,
            "warmup_initial_lr": recipe.warmup_initial_lr * params.lr_decay_factor,
            "weight_decay": recipe.weight_decay * params.lr_decay_factor,
            "lr_warmup_epochs": (max_epochs // params.warmup_epochs_divisor) or 1,
            "cosine_final_lr_ratio": params.cosine_final_lr_ratio,
            "augmentations": () if params.disable_augmentations else recipe.augmentations,
            "ema": False,
            "early_stop_epochs": params.early_stop_epochs,
            "distillation": params.distillation,
        }
    )
