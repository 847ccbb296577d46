"""Blocks of a SuperGradients recipe, pasted as they stand."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from harness.scenario import QATParams, QuantizationParams, expand

QUANTIZATION_PARAMS = """\
ptq_only: False              # whether to launch QAT, or leave PTQ only
selective_quantizer_params:
  calibrator_w: "max"        # calibrator type for weights, acceptable types are ["max", "histogram"]
  calibrator_i: "histogram"  # calibrator type for inputs acceptable types are ["max", "histogram"]
  per_channel: True          # per-channel quantization of weights, activations stay per-tensor by default
  learn_amax: False          # enable learnable amax in all TensorQuantizers using straight-through estimator
  skip_modules:              # optional list of module names (strings) to skip from quantization

calib_params:
  histogram_calib_method: "percentile"  # acceptable types are ["percentile", "entropy", mse"]
  percentile: 99.99                     # percentile for all histogram calibrators with method "percentile"
  num_calib_batches:                    # number of batches to use for calibration, if None, 512 / batch_size
  verbose: False                        # if calibrator should be verbose
"""
CALLBACKS = """\
pre_launch_callbacks_list:
    - QATRecipeModificationCallback:
        batch_size_divisor: 2
        max_epochs_divisor: 10
        lr_decay_factor: 0.01
        warmup_epochs_divisor: 10
        cosine_final_lr_ratio: 0.01
        disable_phase_callbacks: True
        disable_augmentations: False
"""


def test_the_block_of_quantization_parameters_gives_the_defaults(load: Any, head: str) -> None:
    pasted = load(head + "quantization_params:\n" + textwrap.indent(QUANTIZATION_PARAMS, "  "))
    assert pasted.quantization_params.model_dump() == QuantizationParams().model_dump()
    assert [v.id for v in expand(pasted)] == [v.id for v in expand(load(head))]


def test_the_block_without_its_heading_is_refused_with_the_heading(refuse: Any, head: str) -> None:
    error = refuse(head + "§" + QUANTIZATION_PARAMS.partition("\n")[0])
    assert error.fix == "`ptq_only` belongs to `quantization_params`"


def test_the_list_of_callbacks_gives_the_rules_for_qat(load: Any, head: str) -> None:
    pasted = load(head + CALLBACKS.replace("batch_size_divisor: 2", "batch_size_divisor: 4"))
    assert pasted.qat_params == QATParams(batch_size_divisor=4)
    assert pasted.pre_launch_callbacks_list == ()
    assert load(head + CALLBACKS).qat_params.model_dump() == QATParams().model_dump()


@pytest.mark.parametrize(
    "text",
    [
        "pre_launch_callbacks_list:",
        "pre_launch_callbacks_list: []",
        "pre_launch_callbacks_list: [{QATRecipeModificationCallback: }]",
    ],
)
def test_an_empty_list_or_callback_means_the_defaults(load: Any, head: str, text: str) -> None:
    assert load(f"{head}{text}\n").qat_params.model_dump() == QATParams().model_dump()


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (
            "qat_params: {lr_decay_factor: 0.1}\n§" + CALLBACKS,
            "`qat_params` and `pre_launch_callbacks_list` say the same thing twice",
            "delete one of them",
        ),
        (
            "§pre_launch_callbacks_list:\n- QATRecipeModificationCallback: {}\n- QATRecipeModificationCallback: {}\n",
            "`pre_launch_callbacks_list` may hold one entry",
            "delete the others",
        ),
        (
            "pre_launch_callbacks_list:\n- §AutoTrainBatchSizeSelectionCallback: {}\n"
            "  QATRecipeModificationCallback: {}\n",
            "unknown key `AutoTrainBatchSizeSelectionCallback` in `pre_launch_callbacks_list[0]`",
            "did you mean `QATRecipeModificationCallback`?",
        ),
        (
            "pre_launch_callbacks_list:\n- QATRecipeModificationCallback: {§batch_size_devisor: 2}\n",
            "unknown key `batch_size_devisor` in `pre_launch_callbacks_list[0].QATRecipeModificationCallback`",
            "did you mean `batch_size_divisor`?",
        ),
        (
            "§calib_dataloader: imagenet_train # for example\n",
            "unknown key `calib_dataloader` at the top level",
            "delete it, or: data to calibrate on, other than training samples, is `calib_dataset: {source: NAME}`",
        ),
        (
            "§dataset_params:\n  calib_dataloader_params: {batch_size: 8}\n",
            "unknown key `dataset_params` at the top level",
            "the data is named under `dataset`; data to calibrate on, other than training samples, is "
            "`calib_dataset: {source: NAME}`",
        ),
        (
            "§training_hyperparams: {max_epochs: 3}\n",
            "unknown key `training_hyperparams` at the top level",
            "its keys go under `training`",
        ),
    ],
)
def test_what_has_another_place_is_refused_with_that_place(
    refuse: Any, head: str, text: str, message: str, fix: str
) -> None:
    error = refuse(head + text)
    assert (error.message, error.fix) == (message, fix)
