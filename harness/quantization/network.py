"""A quantized network that is used from Python: callable, trainable, calibrated from any data loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.fx import GraphModule

from harness.errors import DataError, StageError
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.descriptors import HistogramMethod
from harness.quantization.histogram import Histogram
from harness.quantization.settings import TensorDescriptor
from harness.quantization.tensor_quantizer import WeightQuantizer
from harness.results import StepCheck

BATCH_SIZE = 64
"""Samples of a tensor that are run at once."""
CalibratorKind = Literal["max", "histogram"]


@dataclass(frozen=True)
class Deferred(Calibrator):
    """Stands for `histogram` until `calibrate` says which method that is."""

    name: ClassVar[str] = "histogram"
    percentile: float | None = None
    """Percentile of the tensor's own descriptor; None: the one given to `calibrate`."""

    def choose(self, histogram: Histogram, levels: int) -> float:
        """Nothing can be chosen yet."""
        raise StageError("the network is not calibrated", fix="call `QuantizationCalibrator().calibrate_model` first")


@dataclass(frozen=True)
class DeferredMethod(HistogramMethod):
    """Descriptors with `calib_method: histogram` wait for the method, too."""

    def calibrator(self, descriptor: TensorDescriptor) -> Calibrator | None:
        """As in the base class, but `Deferred` for `histogram`."""
        if descriptor.calib_method == "histogram":
            return Deferred(descriptor.percentile)
        return super().calibrator(descriptor)


@dataclass(frozen=True)
class Origin:
    """What a network was quantized from, and what was found on the way."""

    float_graph: GraphModule
    """The captured FP32 network."""
    samples: torch.Tensor
    """A few inputs (N, C, H, W), on which later steps are checked."""
    checks: tuple[StepCheck, ...]
    """The steps that were checked, with how well the outputs agree."""
    notes: tuple[str, ...]
    """What to know: outliers that calibration met, what PTQ steps left out."""


class QuantizedNetwork(nn.Module):
    """A captured network with a quantizer at each tensor that its target runs on integers.

    Computes in float until it is calibrated, and with fake quantization afterwards. Batch norm is folded and dropout is
    off, in training too. Weights and biases train.
    """

    def __init__(
        self,
        prepared: GraphModule,
        *,
        input_shape: tuple[int, ...],
        target: str,
        inputs: CalibratorKind,
        learn_ranges: bool = False,
        origin: Origin | None = None,
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.origin = origin
        """What it was made from, where that was kept."""
        self.input_shape = input_shape
        """(C, H, W)."""
        self.target = target
        """Name of the target that it is quantized for."""
        self.learn_ranges = learn_ranges
        """Whether QAT trains the ranges of tensors whose descriptor does not say."""
        self._inputs = inputs
        quantizers = quantized.tensor_quantizers(prepared)
        self._deferred_ranges = {
            q.name: q.range_rule.calibrator for q in quantizers if isinstance(q.range_rule.calibrator, Deferred)
        }
        self._deferred_weights = {
            q.name: q.calibrator
            for q in quantizers
            if isinstance(q, WeightQuantizer) and isinstance(q.calibrator, Deferred)
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs for a batch (N, C, H, W)."""
        if tuple(x.shape[1:]) != self.input_shape:
            raise DataError(
                f"the network takes inputs (N, {_dimensions(self.input_shape)}), not ({_dimensions(x.shape)})",
                fix="quantize the network for this `input_shape`",
            )
        outputs: torch.Tensor = self.prepared(x)
        return outputs

    def train(self, mode: bool = True) -> QuantizedNetwork:
        """Switch the quantizers; the captured graph itself has one mode only."""
        self.training = mode
        for quantizer in quantized.tensor_quantizers(self.prepared):
            quantizer.train(mode)
        return self

    @property
    def float_graph(self) -> GraphModule:
        """The captured FP32 network that it was made from; StageError where that was not kept."""
        if self.origin is None:
            raise StageError("the FP32 network was not kept", fix="quantize with `harness.quantize`")
        return self.origin.float_graph

    @property
    def is_calibrated(self) -> bool:
        """Whether the quantizers have ranges."""
        return all(quantizer.mode == "quantize" for quantizer in quantized.tensor_quantizers(self.prepared))

    def require_calibrated(self, what: str) -> None:
        """StageError where there are no ranges, which `what` needs."""
        if not self.is_calibrated:
            raise StageError(f"{what}: the network is not calibrated", fix="call `calibrate_model` first")

    def calibrate(self, batches: Iterable[torch.Tensor], method: str, percentile: float) -> int:
        """Choose every range from `batches`, and switch fake quantization on; the number of batches.

        `method` is the name of a calibrator; it serves all tensors whose calibrator is `histogram`.
        """
        histogram = make_calibrator(method, percentile=percentile)
        for quantizer in quantized.activation_quantizers(self.prepared):
            quantizer.histogram = Histogram.empty()
        count = 0
        for batch in batches:
            quantized.set_mode(self.prepared, "collect")
            with torch.no_grad():
                self(batch)
            count += 1
        if count == 0:
            raise DataError("the calibration loader gave no batch", fix="give a loader with at least one batch")
        self._choose(method, percentile)
        general = histogram if self._inputs == "histogram" else make_calibrator("max")
        quantized.set_ranges(self.prepared, quantized.collected_histograms(self.prepared), general)
        return count

    def _choose(self, method: str, percentile: float) -> None:
        """Put the method in the place of every `Deferred`."""
        for quantizer in quantized.tensor_quantizers(self.prepared):
            if quantizer.name in self._deferred_ranges:
                own = self._deferred_ranges[quantizer.name].percentile
                chosen = make_calibrator(method, percentile=own or percentile)
                quantizer.range_rule = replace(quantizer.range_rule, calibrator=chosen)
            if isinstance(quantizer, WeightQuantizer) and quantizer.name in self._deferred_weights:
                own = self._deferred_weights[quantizer.name].percentile
                quantizer.calibrator = make_calibrator(method, percentile=own or percentile)

    def save(self, path: Path | str) -> None:
        """Write weights and ranges (safetensors)."""
        self.require_calibrated("saving")
        quantized.save_state(self.prepared, Path(path))

    def load(self, path: Path | str) -> None:
        """Read what `save` wrote from a network that was quantized the same way; it is calibrated then."""
        quantized.load_state(self.prepared, Path(path))


def batches_of(data: torch.Tensor | Iterable[Any]) -> Iterator[torch.Tensor]:
    """Inputs (N, C, H, W) in float32, from a tensor or a loader; DataError for anything else.

    A loader gives tensors, or tuples whose first item is one.
    """
    for batch in torch.split(data, BATCH_SIZE) if isinstance(data, torch.Tensor) else data:
        inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
        if not isinstance(inputs, torch.Tensor):
            raise DataError(
                f"the calibration loader gave {type(inputs).__name__}",
                fix="let it give tensors, or tuples whose first item is the input tensor",
            )
        yield inputs.to(torch.float32)


def _dimensions(shape: Iterable[int]) -> str:
    return ", ".join(map(str, shape))
