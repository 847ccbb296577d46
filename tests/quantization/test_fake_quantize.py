"""Fake quantization against torch's own kernels, and learned scales against arithmetic."""

import math

import pytest
import torch

from harness.quantization.fake_quantize import CHUNK, NO_CLIP, Clip, fake_quantize, lsq_gradient_scale

RELU, RELU6 = Clip(low=0.0), Clip(low=0.0, high=6.0)


def values(*shape: int, spread: float = 4.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * spread


def both(function, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and gradient of a sum with different weights."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = function(x)
    weights = torch.linspace(-1, 1, x.numel()).view(x.shape)
    (out * weights).sum().backward()
    return out.detach(), x.grad


@pytest.mark.parametrize(("zero_point", "quant_min", "quant_max"), [(0, 0, 255), (113, 0, 255), (0, -128, 127)])
@pytest.mark.parametrize("shape", [(7,), (2, 3, 5, 5), (3, CHUNK // 2 + 1)])
def test_output_and_gradient_are_torchs(zero_point: int, quant_min: int, quant_max: int, shape) -> None:
    scale, x = torch.tensor(0.0371), values(*shape)
    ours = both(lambda t: fake_quantize(t, scale, zero_point, quant_min, quant_max), x)
    torchs = both(lambda t: torch.fake_quantize_per_tensor_affine(t, scale, zero_point, quant_min, quant_max), x)
    assert torch.equal(ours[0], torchs[0])
    assert torch.equal(ours[1], torchs[1])


@pytest.mark.parametrize(("quant_min", "quant_max"), [(0, 255), (-128, 127)])
@pytest.mark.parametrize(("clip", "function"), [(RELU, torch.relu), (RELU6, torch.nn.functional.relu6)])
@pytest.mark.parametrize("scale", [0.01, 6 / 255, 0.11])
def test_a_fused_activation_function_changes_nothing(quant_min, quant_max, clip, function, scale) -> None:
    step, x = torch.tensor(scale), values(4, 8, 9, 9)
    fused = both(lambda t: fake_quantize(t, step, 0, quant_min, quant_max, clip), x)
    apart = both(lambda t: torch.fake_quantize_per_tensor_affine(function(t), step, 0, quant_min, quant_max), x)
    assert torch.equal(fused[0], apart[0])
    assert torch.equal(fused[1], apart[1])


def test_any_memory_layout_is_kept_or_copied() -> None:
    scale, x = torch.tensor(0.05), values(4, 6, 5, 5)
    expected = fake_quantize(x, scale, 10, 0, 255)
    channels_last = fake_quantize(x.to(memory_format=torch.channels_last), scale, 10, 0, 255)
    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(channels_last, expected)
    assert torch.equal(fake_quantize(x[:, ::2], scale, 10, 0, 255), expected[:, ::2])
    assert torch.equal(
        fake_quantize(x[:1].expand(4, -1, -1, -1), scale, 10, 0, 255), expected[:1].expand(4, -1, -1, -1)
    )


def test_the_gradient_of_a_learned_scale() -> None:
    # scale 0.5, integers 0 … 3: x / s = 0.6, 2.8, 10, -4; one sample of 4 values, so g = 1 / sqrt(4 * 3).
    x = torch.tensor([[0.3, 1.4, 5.0, -2.0]])
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize(x, scale, 0, 0, 3).sum().backward()
    # round(0.6) - 0.6 = 0.4; round(2.8) - 2.8 = 0.2; above: 3; below: 0.
    assert float(scale.grad) == pytest.approx((0.4 + 0.2 + 3 + 0) / math.sqrt(12))


def test_a_learned_scale_with_a_zero_point_and_with_a_relu() -> None:
    x = torch.tensor([[0.3, 1.4, 5.0, -2.0]])
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize(x, scale, 1, 0, 3, NO_CLIP).sum().backward()
    # Integers -1 … 2 around zero: 0.4; 2.8 and 10 are above: 2 each; -4 is below: -1.
    assert float(scale.grad) == pytest.approx((0.4 + 2 + 2 - 1) / math.sqrt(12))
    scale.grad = None
    fake_quantize(x, scale, 1, 0, 3, RELU).sum().backward()
    assert float(scale.grad) == pytest.approx((0.4 + 2 + 2 + 0) / math.sqrt(12))


def test_the_gradient_scale_counts_the_values_of_one_sample() -> None:
    gradients = []
    for batch in (1, 5):
        scale = torch.tensor(0.5, requires_grad=True)
        fake_quantize(torch.full((batch, 8), 0.3), scale, 0, 0, 3).mean().backward()
        gradients.append(float(scale.grad))
    assert gradients[0] == pytest.approx(gradients[1])
    assert lsq_gradient_scale(8, 3) == pytest.approx(1 / math.sqrt(24))
