"""Operators that torch's exporter does not know, writes wrongly, or writes so that engines do not fuse them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21

from harness.errors import StageError
from harness.quantization.capture.graph import quiet_torch

with quiet_torch():  # defines the operators `quantized_decomposed`
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401

aten = torch.ops.aten
op: Any = opset21
"""Symbolic: its types are those of eager execution."""
_COLUMNS = 4


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX functions by the operator of torch that they implement."""
    import torch.ao.quantization.fx._decomposed  # registers the operators; nothing else may have done so

    namespace = torch.ops.quantized_decomposed
    return {
        aten.relu6.default: _relu6,
        aten.pixel_unshuffle.default: _pixel_unshuffle,
        aten.avg_pool2d.default: _avg_pool2d,
        aten.avg_pool3d.default: _avg_pool3d,
        aten._upsample_bilinear2d_aa.default: _bilinear_antialiased,
        aten._upsample_bicubic2d_aa.default: _bicubic_antialiased,
        aten._upsample_bilinear2d_aa.vec: _bilinear_antialiased_by_factor,
        aten._upsample_bicubic2d_aa.vec: _bicubic_antialiased_by_factor,
        namespace.quantize_per_channel.default: _quantize_per_channel,
        namespace.dequantize_per_channel.default: _dequantize_per_channel,
    }


def reset_after_product(model: ir.Model) -> None:
    """Write into every GRU that its reset gate acts after the product with the hidden state, as torch's does.

    The exporter leaves the attribute out, and ONNX's default is the other order.
    """
    for node in model.graph.all_nodes():
        if node.op_type == "GRU" and node.domain == "":
            node.attributes["linear_before_reset"] = ir.AttrInt64("linear_before_reset", 1)


def _relu6(x: Any) -> Any:
    return op.Clip(x, op.CastLike(0.0, x), op.CastLike(6.0, x))


def _pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """Channels stay together; the exporter's SpaceToDepth puts the places in a block first."""
    factor, (channels, height, width) = downscale_factor, _sizes(x, 3, "pixel_unshuffle")
    rows, columns = height // factor, width // factor
    blocks = op.Reshape(x, op.Constant(value_ints=[-1, channels, rows, factor, columns, factor]))
    ordered = op.Transpose(blocks, perm=[0, 1, 3, 5, 2, 4])
    leading = list(x.shape[:-3])
    if len(leading) != 1:
        raise _unknown_sizes("pixel_unshuffle")
    return op.Reshape(ordered, op.Constant(value_ints=[-1, channels * factor**2, rows, columns]))


def _avg_pool2d(
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    return _avg_pool(x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool3d(
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    return _avg_pool(x, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool(
    x: Any,
    rank: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Any:
    kernel = _expanded(kernel_size, rank)
    strides, pads = _expanded(stride or kernel, rank), _expanded(padding, rank)
    if divisor_override is None:
        return op.AveragePool(
            x,
            kernel_shape=kernel,
            strides=strides,
            pads=[*pads, *pads],
            ceil_mode=int(ceil_mode),
            count_include_pad=int(count_include_pad),
        )
    # A sum over the window: the mean of explicit zeros and values, times the window's size, over the divisor.
    sizes = _sizes(x, rank, "avg_pool with divisor_override")
    counts = [_windows(*each, ceil_mode) for each in zip(sizes, kernel, strides, pads, strict=True)]
    after = [
        (count - 1) * step + window - size - pad
        for count, step, window, size, pad in zip(counts, strides, kernel, sizes, pads, strict=True)
    ]
    outer = [0] * (len(x.shape) - rank)
    padded = op.Pad(x, op.Constant(value_ints=[*outer, *pads, *outer, *(max(0, each) for each in after)]))
    mean = op.AveragePool(padded, kernel_shape=kernel, strides=strides)
    return op.Mul(mean, op.CastLike(op.Constant(value_float=math.prod(kernel) / divisor_override), x))


def _windows(size: int, window: int, step: int, pad: int, ceil_mode: bool) -> int:
    """How many windows torch places; with `ceil_mode` none of them starts in the padding behind."""
    free = size + 2 * pad - window
    count = (-(-free // step) if ceil_mode else free // step) + 1
    return count - 1 if ceil_mode and (count - 1) * step >= size + pad else count


def _expanded(values: Sequence[int], rank: int) -> list[int]:
    return [*values] * rank if len(values) == 1 else [*values]


def _bilinear_antialiased(x: Any, output_size: Any, align_corners: bool, *scales: float | None) -> Any:
    return _antialiased(x, "bilinear", _constant_sizes(output_size), align_corners, scales)


def _bicubic_antialiased(x: Any, output_size: Any, align_corners: bool, *scales: float | None) -> Any:
    return _antialiased(x, "bicubic", _constant_sizes(output_size), align_corners, scales)


def _bilinear_antialiased_by_factor(
    x: Any, output_size: Any, align_corners: bool, scale_factors: Sequence[float] | None
) -> Any:
    return _antialiased_by_factor(x, "bilinear", output_size, align_corners, scale_factors)


def _bicubic_antialiased_by_factor(
    x: Any, output_size: Any, align_corners: bool, scale_factors: Sequence[float] | None
) -> Any:
    return _antialiased_by_factor(x, "bicubic", output_size, align_corners, scale_factors)


def _antialiased_by_factor(
    x: Any, mode: str, output_size: Any, align_corners: bool, scale_factors: Sequence[float] | None
) -> Any:
    if scale_factors is None:
        return _antialiased(x, mode, _constant_sizes(output_size), align_corners, ())
    height, width = _sizes(x, 2, "antialiased resampling")
    sizes = [math.floor(size * factor) for size, factor in zip((height, width), scale_factors, strict=True)]
    return _antialiased(x, mode, sizes, align_corners, tuple(scale_factors))


def _antialiased(
    x: Any, mode: str, output_size: Sequence[int], align_corners: bool, scales: Sequence[float | None]
) -> Any:
    """Rows and columns are resampled one after the other, each by a constant matrix that torch itself gives.

    Runtimes weigh the samples of ONNX's `Resize` with `antialias` differently.
    """
    height, width = _sizes(x, 2, "antialiased resampling")
    factors = [*scales, None, None][:2]
    rows = resampling_matrix(height, output_size[0], mode, align_corners, factors[0])
    columns = resampling_matrix(width, output_size[1], mode, align_corners, factors[1])
    tall = op.MatMul(op.Constant(value=ir.tensor(rows.numpy())), x)
    return op.MatMul(tall, op.Constant(value=ir.tensor(columns.T.contiguous().numpy())))


def resampling_matrix(
    size: int, output_size: int, mode: str, align_corners: bool, factor: float | None
) -> torch.Tensor:
    """(output_size, size): what torch's antialiased resampling of one axis multiplies with."""
    operator = aten._upsample_bilinear2d_aa if mode == "bilinear" else aten._upsample_bicubic2d_aa
    # One channel for each row; several columns, as torch 2.13 computes a single column wrongly.
    impulses = torch.eye(size, dtype=torch.float64).reshape(1, size, size, 1).repeat(1, 1, 1, _COLUMNS)
    with torch.no_grad():
        resampled = operator.default(impulses, [output_size, _COLUMNS], align_corners, factor, None)
    matrix: torch.Tensor = resampled[0, :, :, 0].T.contiguous().float()
    return matrix


def _constant_sizes(output_size: Any) -> list[int]:
    if isinstance(output_size, Sequence) and all(isinstance(size, int) for size in output_size):
        return [int(size) for size in output_size]
    array = ir.convenience.get_const_tensor(output_size) if isinstance(output_size, ir.Value) else None
    if array is None:
        raise _unknown_sizes("antialiased resampling")
    return [int(size) for size in array.numpy()]


def _sizes(x: Any, count: int, what: str) -> list[int]:
    """The last `count` sizes of a tensor; StageError where they are not known."""
    sizes = list(x.shape[-count:]) if x.shape is not None else []
    if len(sizes) != count or not all(isinstance(size, int) for size in sizes):
        raise _unknown_sizes(what)
    return sizes


def _unknown_sizes(what: str) -> StageError:
    return StageError(f"{what} of a tensor whose height and width are not known", fix="use constant sizes")


def _quantize_per_channel(
    x: Any, scales: Any, zero_points: Any, axis: int, quant_min: int, quant_max: int, dtype: int
) -> Any:
    return op.QuantizeLinear(x, scales, op.Cast(zero_points, to=dtype), axis=axis)


def _dequantize_per_channel(
    x: Any, scales: Any, zero_points: Any, axis: int, quant_min: int, quant_max: int, dtype: int
) -> Any:
    return op.DequantizeLinear(x, scales, op.Cast(zero_points, to=dtype), axis=axis)
