"""How networks are trained and quantized: keys named as in SuperGradients recipes, so that a block can be pasted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.fields import (
    Count,
    Fraction,
    Listed,
    Name,
    NonNegative,
    Percent,
    Positive,
    Ratio,
    Section,
    Share,
    Unit,
    WholeNumber,
)
from harness.plugin_names import PluginName
from harness.quantization.settings import Pattern, Rule
from harness.scenario.axes import PtqSteps


class Training(Section):
    """How the FP32 baseline is trained. QAT starts from the same values, changed by `qat_params`."""

    max_epochs: Annotated[Count, Unit("epoch")] = 8
    """Passes over the training samples."""
    batch_size: Annotated[Count, Unit("sample")] = 128
    """Samples per optimizer step."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Update rule."""
    initial_lr: Positive = 0.1
    """Learning rate after warm-up, from which the cosine schedule falls."""
    momentum: Fraction = 0.9
    """For `sgd` only."""
    weight_decay: NonNegative = 0.0005
    """For either optimizer."""
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
    factory: PluginName | None = None
    """[A training loop of your own](plugins/training-loop.md) for the FP32 baseline, `FILE.py:NAME`; empty: the
    harness's. QAT keeps the harness's loop."""


class SelectiveQuantizerParams(Section):
    """What is quantized, and with which ranges."""

    calibrator_w: Literal["max", "histogram"] = "max"
    """Calibrator of the weights."""
    calibrator_i: Literal["max", "histogram"] = "histogram"
    """Calibrator of the activations: `max`, or the `calib_params.histogram_calib_method`."""
    per_channel: bool = True
    """One weight scale per output channel instead of one per tensor; activations have one per tensor."""
    learn_amax: bool = False
    """Train the ranges of all quantizers during QAT (learned step sizes); PTQ's ranges are where they start."""
    skip_modules: Listed[Pattern] = ()
    """Modules that stay unquantized, by name, glob, `re:EXPRESSION`, type or `role:ROLE`; a container takes all that is
    inside with it."""


class CalibParams(Section):
    """How activation ranges are estimated from the calibration samples."""

    histogram_calib_method: Literal["percentile", "entropy", "mse"] = "percentile"
    """What `calibrator_i: histogram` stands for; `calibrator_i: max` does not use it."""
    percentile: Percent = 99.99
    """Share of |x| inside the range, for the method `percentile` only."""
    num_calib_batches: Annotated[Count, Unit("batch")] | None = None
    """Batches of `training.batch_size` samples to calibrate on; empty: 512 // `training.batch_size`, at least one. The
    ranges depend on the samples, not on how they are divided into batches."""
    verbose: bool = False
    """Log every range that is estimated."""


class QuantizationParams(Section):
    """PTQ, and the quantizers that QAT starts from; the keys and defaults of a SuperGradients recipe."""

    ptq_only: bool = False
    """Drop every `qat` row of the matrix."""
    ptq_steps: PtqSteps = ()
    """What PTQ does beside choosing ranges, in order: `cross_layer_equalization`, `bias_correction`, ….
    docs/design/ptq-steps.md lists the steps and what each is worth."""
    selective_quantizer_params: SelectiveQuantizerParams = Field(default_factory=SelectiveQuantizerParams)
    calib_params: CalibParams = Field(default_factory=CalibParams)
    rules: Listed[Rule] = ()
    """What is different for single modules or operations, in every quantized variant. The `skip` sets of the matrix
    come after them."""


class DistillationParams(Section):
    """Learn from the outputs of the FP32 network too: (1 - weight) * cross entropy + weight * T^2 * KL divergence."""

    weight: Ratio = 0.5
    """Share of the divergence in the loss."""
    temperature: Positive = 4.0
    """T, which softens both outputs."""


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
    distillation: DistillationParams | None = None
    """Empty: labels only."""


class PreLaunchCallback(Section):
    """An entry of a SuperGradients recipe's list; `qat_params` holds the same keys."""

    QATRecipeModificationCallback: QATParams
    """The keys of [`qat_params`](#qat_params)."""
