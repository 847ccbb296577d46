"""The module that stands at every quantized tensor: collects its histogram, then fake-quantizes it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from harness.errors import StageError
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.descriptors import RangeRule
from harness.quantization.formats import IntegerFormat
from harness.quantization.histogram import Histogram

Mode = Literal["off", "collect", "quantize"]
SMALLEST_SCALE = 2.0**-24
"""Scale of a tensor or channel that is zero everywhere; any positive number is exact for it."""


class TensorQuantizer(FakeQuantizeBase):  # type: ignore[misc]  # torchao ships no types
    """Observer and fake quantizer of one activation, or of several that share a scale.

    `convert_pt2e` reads `dtype`, `quant_min`, `quant_max`, `qscheme`, `ch_axis` and `calculate_qparams`.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, integer: IntegerFormat, range_rule: RangeRule | None = None, **_spec: Any) -> None:
        super().__init__()
        self.integer = integer
        self.range_rule = range_rule or RangeRule()
        self.dtype = integer.dtype
        self.quant_min, self.quant_max = integer.quant_min, integer.quant_max
        self.qscheme = torch.per_tensor_symmetric if integer.symmetric else torch.per_tensor_affine
        self.ch_axis = -1
        self.is_dynamic = False
        self.mode: Mode = "off"
        self.names: tuple[str, ...] = ()
        """Graph nodes whose values pass through here."""
        self.histogram = Histogram.empty()
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    @property
    def name(self) -> str:
        """The first graph node that this quantizer serves."""
        return self.names[0]

    def set_range(self, histogram: Histogram, calibrator: Calibrator) -> None:
        """Choose scale and zero point from the collected values; a rule of this tensor goes before `calibrator`."""
        low, high = self._bounds(histogram, self.range_rule.calibrator or calibrator)
        if self.integer.symmetric:
            scale, zero_point = max(-low, high) / self.quant_max, 0
        else:
            low, high = min(low, 0.0), max(high, 0.0)  # zero must be exact: padding and ReLU produce it
            scale = (high - low) / (self.quant_max - self.quant_min)
            zero_point = round(self.quant_min - low / scale) if scale > 0 else self.quant_min
        self.scale.fill_(max(scale, SMALLEST_SCALE))
        self.zero_point.fill_(zero_point)

    def _bounds(self, histogram: Histogram, calibrator: Calibrator) -> tuple[float, float]:
        """Smallest and largest value that the range must hold, in units of x."""
        rule = self.range_rule
        if rule.amax is not None:
            amax = rule.amax[0]
            low, high = (0.0 if histogram.minimum >= 0.0 else -amax), amax
        else:
            amax = calibrator.amax(histogram, self.integer.levels(histogram.minimum))
            low, high = max(histogram.minimum, -amax), min(histogram.maximum, amax)
            if self.integer.symmetric:
                low, high = -amax, amax
        return (0.0 if rule.unsigned else low * rule.scale_amax), high * rule.scale_amax

    def describe(self) -> str:
        """The range and its format, for people."""
        scale, zero_point = float(self.scale), int(self.zero_point)
        low, high = ((bound - zero_point) * scale for bound in (self.quant_min, self.quant_max))
        return f"[{low:.6g}, {high:.6g}] in steps of {scale:.6g}, zero point {zero_point}"

    def calculate_qparams(self, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point for `convert_pt2e`."""
        return self.scale, self.zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` itself while collecting, `x` rounded to the format when quantizing; any shape."""
        if self.mode == "quantize":
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.quant_min, self.quant_max)
        if self.mode == "collect":
            try:
                self.histogram.update(x)
            except ValueError as error:
                raise StageError(
                    f"calibration: tensor `{self.name}`: {error}", fix="check the weights and the data"
                ) from error
        return x


class WeightQuantizer(TensorQuantizer):
    """Fake quantizer of a weight, symmetric, whose scale follows the weight, per tensor or per channel.

    Only the width of the range depends on the calibrator; with `max` it is exact for every training step.
    """

    def __init__(
        self,
        integer: IntegerFormat,
        channel_axis: int | None,
        calibrator: Calibrator,
        range_rule: RangeRule | None = None,
        **_spec: Any,
    ) -> None:
        super().__init__(integer, range_rule)
        self.calibrator = calibrator
        if channel_axis is not None:
            self.qscheme = torch.per_channel_symmetric
            self.ch_axis = channel_axis

    def fit(self, weight: torch.Tensor) -> None:
        """Take scale and zero point from the weight."""
        with torch.no_grad():
            amax = self._fixed_amax(weight) if self.range_rule.amax is not None else self._amax(weight.detach())
            amax = amax * self.range_rule.scale_amax
            self.scale = (amax / self.quant_max).clamp_min(SMALLEST_SCALE)
            self.zero_point = torch.zeros_like(self.scale, dtype=torch.int32)

    def _fixed_amax(self, weight: torch.Tensor) -> torch.Tensor:
        """The rule's range, one number or one for each channel."""
        amax = torch.tensor(self.range_rule.amax)
        channels = 1 if self.ch_axis < 0 else weight.shape[self.ch_axis]
        if amax.numel() not in (1, channels):
            raise StageError(
                f"`amax` of weight `{self.name}` has {amax.numel()} numbers for {channels} scales",
                fix=f"give 1 or {channels} numbers",
            )
        return amax.reshape(()) if self.ch_axis < 0 else amax.expand(channels)

    def _amax(self, weight: torch.Tensor) -> torch.Tensor:
        if self.calibrator.name == "max":
            kept = self.ch_axis if self.ch_axis >= 0 else None
            return weight.abs().amax(dim=[axis for axis in range(weight.ndim) if axis != kept])
        levels = self.quant_max + 1
        if self.ch_axis < 0:
            return torch.tensor(self.calibrator.amax(_histogram(weight), levels))
        channels = weight.unbind(self.ch_axis)
        return torch.tensor([self.calibrator.amax(_histogram(channel), levels) for channel in channels])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The weight rounded to the format when quantizing."""
        if self.mode != "quantize":
            return x
        self.fit(x)
        if self.ch_axis < 0:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.quant_min, self.quant_max)
        return torch.fake_quantize_per_channel_affine(
            x, self.scale, self.zero_point, self.ch_axis, self.quant_min, self.quant_max
        )


def _histogram(values: torch.Tensor) -> Histogram:
    histogram = Histogram.empty()
    histogram.update(values)
    return histogram
