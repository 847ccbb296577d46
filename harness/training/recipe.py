"""How a network is trained, and how that changes for QAT."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict

Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Ratio = Annotated[float, Gt(0), Le(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]


class Distillation(BaseModel):
    """Loss = (1 - weight) * cross entropy + weight * T^2 * KL(teacher || student), both softened by T.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: Ratio = 0.5
    temperature: Positive = 4.0


class Recipe(BaseModel):
    """Everything that decides the weights, besides network, data and thread count."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_epochs: Count = 12
    """Passes over the training samples."""
    batch_size: Count = 128
    """Samples per optimizer step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`sgd` is with Nesterov momentum."""
    initial_lr: Positive = 0.1
    """Learning rate after warm-up, from which the cosine falls."""
    momentum: Fraction = 0.9
    """Of `sgd`; `adamw` does not use it."""
    weight_decay: NonNegative = 0.0005
    """Of weights; biases, batch norm and quantization ranges are not decayed."""
    lr_warmup_epochs: WholeNumber = 1
    """Epochs over which the learning rate rises linearly to `initial_lr`."""
    warmup_initial_lr: NonNegative = 0.01
    """Learning rate of the first warm-up step."""
    cosine_final_lr_ratio: Ratio = 0.01
    """Learning rate of the last step, as a share of `initial_lr`."""
    label_smoothing: Fraction = 0.0
    """Share of the target probability that is spread over all classes."""
    augmentations: tuple[str, ...] = ("random_crop", "horizontal_flip")
    """Names of random transforms of the training samples, in order."""
    ema: bool = False
    """Evaluate and keep an exponential moving average of the weights."""
    seed: WholeNumber = 0
    """Of shuffling, augmentation and dropout."""
    early_stop_epochs: Count | None = None
    """Stop after so many epochs without a better validation accuracy; None: never."""
    distillation: Distillation | None = None
    """Learn from a teacher's outputs too; `fit` must then be given the teacher."""


BatchSizeRule = Literal["always", "learned_ranges"]


class QatRules(BaseModel):
    """How a recipe changes for QAT; the defaults are those of SuperGradients' `QATRecipeModificationCallback`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch_size_divisor: Count = 2
    batch_size_rule: BatchSizeRule = "always"
    """When the divisor counts: SuperGradients' documentation says always, its code only with learned ranges."""
    max_epochs_divisor: Count = 10
    lr_decay_factor: Ratio = 0.01
    """Multiplies `initial_lr`, `warmup_initial_lr` and `weight_decay`."""
    warmup_epochs_divisor: Count = 10
    cosine_final_lr_ratio: Ratio = 0.01
    disable_augmentations: bool = False
    early_stop_epochs: Count | None = None
    distillation: Distillation | None = None


def qat_recipe(recipe: Recipe, rules: QatRules, *, learned_ranges: bool = False) -> Recipe:
    """The recipe that fine-tunes a quantized network which `recipe` trained.

    Source: SuperGradients, `QATRecipeModificationCallback`: E // 10 epochs but at least 1, a tenth of those for warm-up
    but at least 1, rates and weight decay x 0.01, no moving average; augmentations stay unless the rules say otherwise.
    """
    max_epochs = max(1, recipe.max_epochs // rules.max_epochs_divisor)
    divides = rules.batch_size_rule == "always" or learned_ranges
    return recipe.model_copy(
        update={
            "max_epochs": max_epochs,
            "batch_size": max(1, recipe.batch_size // (rules.batch_size_divisor if divides else 1)),
            "initial_lr": recipe.initial_lr * rules.lr_decay_factor,
            "warmup_initial_lr": recipe.warmup_initial_lr * rules.lr_decay_factor,
            "weight_decay": recipe.weight_decay * rules.lr_decay_factor,
            "lr_warmup_epochs": (max_epochs // rules.warmup_epochs_divisor) or 1,
            "cosine_final_lr_ratio": rules.cosine_final_lr_ratio,
            "augmentations": () if rules.disable_augmentations else recipe.augmentations,
            "ema": False,
            "early_stop_epochs": rules.early_stop_epochs,
            "distillation": rules.distillation,
        }
    )
