"""Samples held out of training, to choose the best epoch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from harness.data.partition import balanced_order
from harness.data.samples import Samples
from harness.errors import DataError

VALIDATION_SHARE = 0.1
VALIDATION_MAX_SAMPLES = 2_000
_STREAM = 0x76616C  # keeps this draw independent of others that start from the same seed


class HeldOut(NamedTuple):
    """The training samples, taken apart."""

    train: Samples
    validation: Samples


def hold_out(samples: Samples, seed: int) -> HeldOut:
    """Take a tenth of the training samples, at most 2,000, class-balanced, for validation.

    Not the test samples, which would make the reported accuracy too good; not the calibration samples either, which
    decide the quantized network's ranges. FP32 training and QAT with the same seed hold out the same samples.
    Raises DataError when there are too few samples or no labels.
    """
    labels = samples.required_labels()
    n = len(samples)
    n_validation = min(max(1, int(n * VALIDATION_SHARE)), VALIDATION_MAX_SAMPLES)
    if n < 2:
        raise DataError(f"{n} training samples are too few", fix="raise `train_samples`")
    order = balanced_order(labels.numpy(), n, np.random.default_rng((_STREAM, seed)))
    chosen, rest = np.sort(order[:n_validation]), np.sort(order[n_validation:])
    return HeldOut(train=samples.take(torch.from_numpy(rest)), validation=samples.take(torch.from_numpy(chosen)))
