"""Calibration from a standard torch data loader, with the interface of SuperGradients' `QuantizationCalibrator`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch

from harness.errors import UsageError
from harness.quantization.network import QuantizedNetwork, batches_of
from harness.quantization.prepared import activation_quantizers
from harness.quantization.settings import DEFAULT_PERCENTILE
from harness.supergradients.notes import note

DEFAULT_BATCHES = 16


class QuantizationCalibrator:
    """Chooses the ranges of a quantized network; `verbose` prints each of them."""

    def __init__(self, verbose: bool = True) -> None:
        self.verbose = verbose

    def calibrate_model(
        self,
        model: torch.nn.Module,
        calib_data_loader: Iterable[Any],
        method: str = "percentile",
        num_calib_batches: int = DEFAULT_BATCHES,
        percentile: float = DEFAULT_PERCENTILE,
    ) -> int:
        """Calibrate on the first `num_calib_batches` batches, not one more; the number of batches that there were.

        The loader gives tensors (N, C, H, W), or tuples whose first item is one. `method` is `max`, `percentile`,
        `entropy` or `mse`; tensors whose calibrator is `max` use `max` whatever `method` says. Raises UsageError for a
        model that is not quantized or an unknown method, DataError for a loader without usable batches.
        """
        if not isinstance(model, QuantizedNetwork):
            raise UsageError(
                f"{type(model).__name__} is not quantized",
                fix="calibrate what `SelectiveQuantizer.quantize_module` returns",
            )
        if num_calib_batches < 1:
            raise UsageError(f"`num_calib_batches` is {num_calib_batches}", fix="give at least 1")
        if not 0.0 < percentile <= 100.0:
            raise UsageError(f"`percentile` is {percentile:g}", fix="give a number above 0 and up to 100")
        batches = batches_of(itertools.islice(calib_data_loader, num_calib_batches))
        count = model.calibrate(batches, method, percentile)
        if self.verbose:
            self._report(model, count, num_calib_batches)
        return count

    def _report(self, model: QuantizedNetwork, count: int, wanted: int) -> None:
        less = f" (the loader has no more; {wanted} were asked for)" if count < wanted else ""
        note(f"calibrated on {count} batches{less}")
        for quantizer in activation_quantizers(model.prepared):
            note(f"{quantizer.name}: {quantizer.describe()}")
