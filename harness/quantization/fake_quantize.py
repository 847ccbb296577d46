"""Fake quantization of activations: torch's result and gradient, in vectorised passes, with learned scales.

`torch.fake_quantize_per_tensor_affine` branches on every element on the CPU; where the branch cannot be predicted it
takes ten times as long as the same arithmetic in vectorised passes over pieces that stay in the cache.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

CHUNK = 1 << 16
"""Elements per piece: 256 KiB of float32."""


class Clip(NamedTuple):
    """The activation function in front of a quantizer, as the interval that it clips to."""

    low: float = -math.inf
    high: float = math.inf


NO_CLIP = Clip()


def fake_quantize(
    x: torch.Tensor,
    scale: torch.Tensor,
    zero_point: int,
    quant_min: int,
    quant_max: int,
    clip: Clip = NO_CLIP,
) -> torch.Tensor:
    """`clip` applied to `x` (any shape), then rounded to the format; the same shape and memory format.

    The gradient is that of the straight-through estimator: 1 inside the range and the clip, 0 outside. A scale that
    needs a gradient gets that of Esser et al., "Learned Step Size Quantization", arXiv:1902.08153, equation 3, times
    1 / sqrt(n * quant_max) with n values per sample; it takes a clip from below at 0 only.
    """
    quantized: torch.Tensor = _FakeQuantize.apply(x, scale, zero_point, quant_min, quant_max, clip)  # type: ignore[no-untyped-call]
    return quantized


def lsq_gradient_scale(n: int, quant_max: int) -> float:
    """The factor 1 / sqrt(n * quant_max) for a scale that serves `n` values (Esser et al. 2020, section 2.2)."""
    return 1.0 / math.sqrt(n * quant_max)


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        scale: torch.Tensor,
        zero_point: int,
        quant_min: int,
        quant_max: int,
        clip: Clip,
    ) -> torch.Tensor:
        step = float(scale)
        inverse = 1.0 / step
        low, high = float(quant_min - zero_point), float(quant_max - zero_point)
        # round() is monotonic, so clipping the integers equals clipping the values first.
        lowest = max(low, round(clip.low * inverse)) if math.isfinite(clip.low) else low
        highest = min(high, round(clip.high * inverse)) if math.isfinite(clip.high) else high
        dense, out = _dense_pair(x)
        for source, target in zip(_pieces(dense), _pieces(out), strict=True):
            torch.mul(source, inverse, out=target)
            target.round_().clamp_(lowest, highest).mul_(step)
        ctx.bounds = max((low - 0.5) * step, clip.low), min((high + 0.5) * step, clip.high)
        ctx.step = step
        learned = ctx.needs_input_grad[1]
        ctx.gradient_scale = lsq_gradient_scale(max(1, x.numel() // max(1, len(x))), quant_max) if learned else 0.0
        ctx.save_for_backward(dense, out if learned else None)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        x, out = ctx.saved_tensors
        low, high = ctx.bounds
        passed = torch.ops.aten.hardtanh_backward.default(gradient, x, low, high)
        scale_gradient = None
        if ctx.needs_input_grad[1]:
            # d out / d scale is round(x / s) - x / s inside the range and the integer bound beyond it; in both cases
            # (out - [inside] x) / s.
            total = torch.sum(gradient * out) - torch.sum(passed * x)
            scale_gradient = total / ctx.step * ctx.gradient_scale
        return passed, scale_gradient, None, None, None, None


def _dense_pair(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`x` without gaps or overlaps, and an uninitialised tensor laid out like it."""
    out = torch.empty_like(x)
    # `empty_like` keeps the strides of a dense tensor exactly, and no others.
    return (x if x.stride() == out.stride() else torch.empty_like(out).copy_(x)), out


def _pieces(dense: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.split(dense.as_strided((dense.numel(),), (1,)), CHUNK)
