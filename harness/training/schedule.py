"""The learning rate of every step: linear warm-up, then a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.training.settings import Recipe

SHORT_WARMUP_SHARE = 0.1
"""Share of all steps that warm up when the recipe's warm-up would leave none for the cosine."""


@dataclass(frozen=True)
class LearningRateSchedule:
    """Learning rates by step, starting at 0."""

    peak_lr: float
    first_lr: float
    """Learning rate of step 0, when there is a warm-up; at most `peak_lr`."""
    last_lr: float
    warmup_steps: int
    total_steps: int

    def lr(self, step: int) -> float:
        """Rises from `first_lr` to reach `peak_lr` at step `warmup_steps`, falls to `last_lr` at the last step.

        The cosine is that of Loshchilov and Hutter, "SGDR", arXiv:1608.03983, equation 5, without restarts.
        """
        if step < self.warmup_steps:
            return self.first_lr + (self.peak_lr - self.first_lr) * step / self.warmup_steps
        falling_steps = self.total_steps - 1 - self.warmup_steps
        progress = (step - self.warmup_steps) / falling_steps if falling_steps > 0 else 0.0
        return self.last_lr + 0.5 * (self.peak_lr - self.last_lr) * (1 + math.cos(math.pi * progress))


def schedule(recipe: Recipe, steps_per_epoch: int) -> LearningRateSchedule:
    """The schedule of a recipe.

    A warm-up as long as the whole training, which the QAT rules prescribe for a single epoch, would end at the highest
    learning rate and never anneal. It is then cut to `SHORT_WARMUP_SHARE` of the steps.
    """
    total_steps = recipe.max_epochs * steps_per_epoch
    warmup_steps = recipe.lr_warmup_epochs * steps_per_epoch
    if recipe.lr_warmup_epochs >= recipe.max_epochs:
        warmup_steps = int(total_steps * SHORT_WARMUP_SHARE)
    return LearningRateSchedule(
        peak_lr=recipe.initial_lr,
        first_lr=min(recipe.warmup_initial_lr, recipe.initial_lr),
        last_lr=recipe.initial_lr * recipe.cosine_final_lr_ratio,
        warmup_steps=warmup_steps,
        total_steps=total_steps,
    )
