"""The module at every quantized tensor: collects its histogram, then fake-quantizes it."""

from __future__ import annotations

from typing import Any, Literal

import torch

from harness.errors import StageError
from harness.quantization.calibrators.base import Calibrator
from harness.quantization.capture.graph import quiet_torch
from harness.quantization.descriptors import RangeRule
from harness.quantization.fake_quantize import NO_CLIP, Clip, fake_quantize, lsq_gradient_scale
from harness.quantization.formats import IntegerFormat
from harness.quantization.histogram import Histogram

with quiet_torch():
    from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

Mode = Literal["off", "collect", "quantize", "observe"]
"""`observe` quantizes too, within a range that follows the batches in training."""
SMALLEST_SCALE = 2.0**-24
"""Scale of a tensor or channel that is zero everywhere; any positive number is exact for it."""
OBSERVED_SHARE = 0.01
"""Weight of the newest batch in an observed range, as in torch's `MovingAverageMinMaxObserver`."""


class TensorQuantizer(FakeQuantizeBase):  # type: ignore[misc]  # torchao ships no types
    """Observer and fake quantizer of one activation, or of several that share a scale.

    `convert_pt2e` reads `dtype`, `quant_min`, `quant_max`, `qscheme`, `ch_axis` and `calculate_qparams`.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    switches_with_network = True
    """`set_training` reaches it inside a captured network: only training batches may move a range."""

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
        self.clip: Clip = NO_CLIP
        """The activation function that was fused into this quantizer."""
        self.histogram = Histogram.empty()
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    @property
    def name(self) -> str:
        """The first graph node that this quantizer serves."""
        return self.names[0]

    def set_range(self, histogram: Histogram, calibrator: Calibrator) -> None:
        """Choose scale and zero point from the collected values; a rule of this tensor goes before `calibrator`."""
        self._set(*self._bounds(histogram, self.range_rule.calibrator or calibrator))

    def _set(self, low: float, high: float) -> None:
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

    @property
    def learned(self) -> bool:
        """Whether the scale is a parameter."""
        return isinstance(self.scale, torch.nn.Parameter)

    def learn(self) -> None:
        """Make the scale a parameter; the zero point stays the integer that it is."""
        if not self.learned:
            scale = torch.nn.Parameter(self.scale.detach().clone())
            del self.scale
            self.register_parameter("scale", scale)

    def observe(self) -> None:
        """Let the range follow a moving average of the batches' minimum and maximum, starting where it is."""
        low, high = ((bound - self.zero_point) * self.scale for bound in (self.quant_min, self.quant_max))
        self.register_buffer("observed", torch.stack([low, high]))
        self.mode = "observe"

    def _follow(self, x: torch.Tensor) -> None:
        batch = torch.stack(torch.aminmax(x.detach())).clamp(*self.clip)
        observed = self.get_buffer("observed").lerp_(batch, OBSERVED_SHARE)
        low, high = (float(bound) for bound in observed)
        self._set(low, high)

    def describe(self) -> str:
        """The range and its format, for people."""
        scale, zero_point = float(self.scale), int(self.zero_point)
        low, high = ((bound - zero_point) * scale for bound in (self.quant_min, self.quant_max))
        return f"[{low:.6g}, {high:.6g}] in steps of {scale:.6g}, zero point {zero_point}"

    def calculate_qparams(self, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point for `convert_pt2e`."""
        return self.scale.detach().clamp_min(SMALLEST_SCALE), self.zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` itself while collecting, `x` rounded to the format when quantizing; any shape."""
        if self.mode == "observe" and self.training:
            self._follow(x)
        if self.mode in ("quantize", "observe"):
            scale = self.scale.clamp_min(SMALLEST_SCALE) if self.learned else self.scale
            return fake_quantize(x, scale, int(self.zero_point), self.quant_min, self.quant_max, self.clip)
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
        self.is_fixed = False
        """Whether the scale stays although the weight changes, which was rounded for it."""
        if channel_axis is not None:
            self.qscheme = torch.per_channel_symmetric
            self.ch_axis = channel_axis

    def fit(self, weight: torch.Tensor) -> None:
        """Take scale and zero point from the weight, unless the scale is learned or fixed."""
        if self.learned or self.is_fixed:
            return
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

    def fix(self, scale: torch.Tensor | None = None) -> None:
        """Keep this scale, by default the one that it has, whatever the weight is from now on."""
        if scale is not None:
            self.scale = scale.detach().clone()
            self.zero_point = torch.zeros_like(self.scale, dtype=torch.int32)
        self.is_fixed = True

    def follow(self, factor: torch.Tensor) -> None:
        """Multiply fixed scales as the weight was, by one factor for each channel; a single scale is fixed no more."""
        if self.is_fixed and self.ch_axis < 0:
            self.is_fixed = False
        elif self.is_fixed:
            self.scale = self.scale * factor.to(self.scale.dtype)

    def set_learned(self, scale: torch.Tensor) -> None:
        """Take a scale that was learned; it no longer follows the weight."""
        del self.scale
        self.register_buffer("scale", scale.detach().clone())
        self.zero_point = torch.zeros_like(self.scale, dtype=torch.int32)
        self.learn()

    def _amax(self, weight: torch.Tensor) -> torch.Tensor:
        if self.calibrator.name == "max":
            kept = self.ch_axis if self.ch_axis >= 0 else None
            return weight.abs().amax(dim=[axis for axis in range(weight.ndim) if axis != kept])
        levels = self.quant_max + 1
        if self.ch_axis < 0:
            return torch.tensor(self.calibrator.amax(_histogram(weight), levels, keep_outliers=True))
        channels = weight.unbind(self.ch_axis)
        amax = [self.calibrator.amax(_histogram(channel), levels, keep_outliers=True) for channel in channels]
        return torch.tensor(amax)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The weight rounded to the format when quantizing."""
        if self.mode != "quantize":
            return x
        if self.learned:
            return self._learned(x)
        self.fit(x)
        if self.ch_axis < 0:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.quant_min, self.quant_max)
        return torch.fake_quantize_per_channel_affine(
            x, self.scale, self.zero_point, self.ch_axis, self.quant_min, self.quant_max
        )

    def _learned(self, x: torch.Tensor) -> torch.Tensor:
        # torch's learnable kernels divide by the scale and scale its gradient, as in "Learned Step Size Quantization".
        scale = self.scale.clamp_min(SMALLEST_SCALE).reshape(-1)
        zero_point = torch.zeros_like(scale)
        factor = lsq_gradient_scale(x.numel() // scale.numel(), self.quant_max)
        bounds = (self.quant_min, self.quant_max)
        if self.ch_axis < 0:
            return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, *bounds, factor)
        return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, self.ch_axis, *bounds, factor)


def _histogram(values: torch.Tensor) -> Histogram:
    histogram = Histogram.empty()
    histogram.update(values)
    return histogram
