"""Operators and layer types that networks for images use, each in the smallest network that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

INPUT_SHAPE = (4, 8, 10)
"""Channels, height, width: all different, so that a swapped axis shows."""


class Call(nn.Module):
    """A function of the input, with layers where it has weights."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, *self.layers)


class Rows(nn.Module):
    """A recurrent layer over the rows (N, 8, 40) of the input, or over (8, N, 40) where the batch is not first."""

    def __init__(self, layer: nn.Module, output: str = "all") -> None:
        super().__init__()
        self.layer, self.output = layer, output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.transpose(1, 2).flatten(2)
        batch_first = bool(self.layer.batch_first)
        outputs, states = self.layer(rows if batch_first else rows.transpose(0, 1))
        if self.output == "state":
            state = states[0] if isinstance(states, tuple) else states
            return state.transpose(0, 1).flatten(1)
        return outputs if batch_first else outputs.transpose(0, 1)


class Started(nn.Module):
    """A recurrent layer that starts from a state that the network computes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.start, self.layer = nn.Linear(40, 6), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.transpose(1, 2).flatten(2)
        state = torch.tanh(self.start(rows[:, 0])).unsqueeze(0)
        return self.layer(rows, (state, state) if isinstance(self.layer, nn.LSTM) else state)[0]


class Parameterized(nn.Module):
    """A function of the input and a parameter."""

    def __init__(self, function: Callable[..., Any], *shape: int) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.randn(shape))
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, self.parameter)


def tokens(x: torch.Tensor) -> torch.Tensor:
    """(N, 80, 4)."""
    return x.flatten(2).transpose(1, 2)


def heads(x: torch.Tensor, count: int = 2) -> torch.Tensor:
    """(N, heads, 8, width)."""
    return x.transpose(1, 2).flatten(2).unflatten(2, (count, -1)).transpose(1, 2)


def _convolutions() -> dict[str, Callable[[], nn.Module]]:
    return {
        "conv2d": lambda: nn.Conv2d(4, 6, 3, padding=1),
        "conv2d, stride and dilation": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2),
        "conv2d, other height than width": lambda: nn.Conv2d(4, 6, (1, 5), stride=(2, 1), padding=(0, 2)),
        "conv2d, groups": lambda: nn.Conv2d(4, 8, 3, groups=2),
        "conv2d, depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4),
        "conv2d, padding same": lambda: nn.Conv2d(4, 6, 4, padding="same"),
        "conv2d, padding same and dilation": lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2),
        "conv2d, padding valid": lambda: nn.Conv2d(4, 6, 3, padding="valid"),
        "conv2d, reflect": lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
        "conv2d, circular": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        "conv2d, replicate": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"),
        "conv2d, circular, uneven": lambda: nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode="circular"),
        "conv1d": lambda: Call(lambda x, layer: layer(x.flatten(2)), nn.Conv1d(4, 6, 5, padding=2)),
        "conv1d, padding same": lambda: Call(lambda x, layer: layer(x.flatten(2)), nn.Conv1d(4, 6, 4, padding="same")),
        "conv3d": lambda: Call(lambda x, layer: layer(x.unsqueeze(1)), nn.Conv3d(1, 3, 3, padding=1)),
        "conv2d, weight from the input": lambda: Call(
            lambda x, layer: F.conv2d(x, layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)), nn.Conv2d(4, 6, 3)
        ),
        "conv_transpose2d": lambda: nn.ConvTranspose2d(4, 6, 2, stride=2),
        "conv_transpose2d, output padding": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        "conv_transpose2d, uneven": lambda: nn.ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)
        ),
        "conv_transpose2d, groups and dilation": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2),
        "conv_transpose2d, no bias": lambda: nn.ConvTranspose2d(4, 6, 3, bias=False),
        "conv_transpose1d": lambda: Call(
            lambda x, layer: layer(x.flatten(2)), nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1)
        ),
        "conv_transpose3d": lambda: Call(
            lambda x, layer: layer(x.unsqueeze(1)), nn.ConvTranspose3d(1, 2, 3, stride=2, padding=1)
        ),
        "linear": lambda: Call(lambda x, layer: layer(x.flatten(1)), nn.Linear(320, 7)),
        "linear, tokens": lambda: Call(lambda x, layer: layer(tokens(x)), nn.Linear(4, 7)),
        "linear, no bias": lambda: Call(lambda x, layer: layer(tokens(x)), nn.Linear(4, 7, bias=False)),
        "bilinear": lambda: Call(lambda x, layer: layer(x[:, 0], x[:, 1]), nn.Bilinear(10, 10, 3)),
    }


def _pools() -> dict[str, Callable[[], nn.Module]]:
    return {
        "max_pool2d": lambda: nn.MaxPool2d(2),
        "max_pool2d, ceil_mode": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        "max_pool2d, ceil_mode, no padding": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
        "max_pool2d, dilation": lambda: nn.MaxPool2d(3, 1, 1, dilation=2),
        "max_pool1d": lambda: Call(lambda x: F.max_pool1d(x.flatten(2), 3, 2)),
        "max_pool3d": lambda: Call(lambda x: F.max_pool3d(x.unsqueeze(1), 2)),
        "max_pool2d and max_unpool2d": lambda: Call(
            lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)
        ),
        "avg_pool2d": lambda: nn.AvgPool2d(2),
        "avg_pool2d, padding": lambda: nn.AvgPool2d(3, 2, 1),
        "avg_pool2d, count_include_pad off": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "avg_pool2d, ceil_mode": lambda: nn.AvgPool2d(3, 2, ceil_mode=True),
        "avg_pool2d, ceil_mode and padding": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        "avg_pool2d, ceil_mode, count_include_pad off": lambda: nn.AvgPool2d(
            3, 2, 1, ceil_mode=True, count_include_pad=False
        ),
        "avg_pool2d, divisor_override": lambda: nn.AvgPool2d(2, divisor_override=3),
        "avg_pool2d, divisor_override, padding": lambda: nn.AvgPool2d(3, 2, 1, divisor_override=2),
        "avg_pool2d, divisor_override, ceil_mode": lambda: nn.AvgPool2d(3, 2, 1, True, True, divisor_override=5),
        "avg_pool1d": lambda: Call(lambda x: F.avg_pool1d(x.flatten(2), 3, 2, 1)),
        "avg_pool3d": lambda: Call(lambda x: F.avg_pool3d(x.unsqueeze(1), 2)),
        "avg_pool3d, divisor_override": lambda: Call(lambda x: F.avg_pool3d(x.unsqueeze(1), 2, divisor_override=3)),
        "lp_pool2d": lambda: Call(lambda x: F.lp_pool2d(x, 2, 3, 2)),
        "lp_pool2d, power 3": lambda: Call(lambda x: F.lp_pool2d(x.abs(), 3, 2)),
        "adaptive_avg_pool2d, 1": lambda: nn.AdaptiveAvgPool2d(1),
        "adaptive_avg_pool2d, divisible": lambda: nn.AdaptiveAvgPool2d((4, 5)),
        "adaptive_avg_pool2d, not divisible": lambda: nn.AdaptiveAvgPool2d((3, 4)),
        "adaptive_avg_pool2d, larger": lambda: nn.AdaptiveAvgPool2d((11, 13)),
        "adaptive_avg_pool2d, one axis": lambda: nn.AdaptiveAvgPool2d((None, 1)),
        "adaptive_max_pool2d, 1": lambda: nn.AdaptiveMaxPool2d(1),
        "adaptive_max_pool2d, divisible": lambda: nn.AdaptiveMaxPool2d((4, 5)),
        "adaptive_max_pool2d, not divisible": lambda: nn.AdaptiveMaxPool2d((3, 4)),
        "adaptive_avg_pool1d, not divisible": lambda: Call(lambda x: F.adaptive_avg_pool1d(x.flatten(2), 7)),
        "fractional_max_pool2d": lambda: nn.FractionalMaxPool2d(2, output_size=(3, 4)),
        "mean over the map": lambda: Call(lambda x: x.mean((2, 3))),
        "mean over the map, kept": lambda: Call(lambda x: x.mean((-1, -2), keepdim=True)),
        "amax over the map": lambda: Call(lambda x: x.amax((2, 3))),
    }


def _norms() -> dict[str, Callable[[], nn.Module]]:
    return {
        "batch_norm, alone": lambda: Call(lambda x, layer: layer(F.relu(x)), nn.BatchNorm2d(4)),
        "batch_norm, behind a convolution": lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)),
        "batch_norm, not affine": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4, affine=False)),
        "batch_norm, before a convolution": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)),
        "batch_norm1d": lambda: Call(
            lambda x, layer, norm: norm(layer(x.flatten(1))), nn.Linear(320, 7), nn.BatchNorm1d(7)
        ),
        "layer_norm": lambda: Call(lambda x, layer: layer(tokens(x)), nn.LayerNorm(4)),
        "layer_norm, several axes": lambda: nn.LayerNorm((4, 8, 10)),
        "layer_norm, not affine": lambda: nn.LayerNorm(10, elementwise_affine=False),
        "group_norm": lambda: nn.GroupNorm(2, 4),
        "group_norm, one group": lambda: nn.GroupNorm(1, 4),
        "group_norm, not affine": lambda: nn.GroupNorm(2, 4, affine=False),
        "instance_norm": lambda: nn.InstanceNorm2d(4, affine=True),
        "instance_norm, not affine": lambda: nn.InstanceNorm2d(4),
        "instance_norm, running statistics": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        "rms_norm": lambda: nn.RMSNorm(10),
        "rms_norm, eps": lambda: nn.RMSNorm((8, 10), eps=0.1),
        "local_response_norm": lambda: nn.LocalResponseNorm(3, alpha=0.1, beta=0.5, k=2.0),
        "local_response_norm, even size": lambda: nn.LocalResponseNorm(2, alpha=0.1),
        "normalize": lambda: Call(lambda x: F.normalize(x, dim=1)),
        "normalize, p 1": lambda: Call(lambda x: F.normalize(x, p=1.0, dim=-1)),
        "norm, p 2": lambda: Call(lambda x: x.norm(dim=1)),
        "norm, p 1": lambda: Call(lambda x: torch.linalg.vector_norm(x, 1, dim=(2, 3))),
        "norm, infinity": lambda: Call(lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1)),
        "norm, p 3": lambda: Call(lambda x: torch.linalg.vector_norm(x, 3, dim=1)),
        "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3)),
        "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 6, 3)),
        "softmax": lambda: Call(lambda x: x.softmax(1)),
        "log_softmax": lambda: Call(lambda x: F.log_softmax(x, -1)),
        "softmin": lambda: Call(lambda x: F.softmin(x, 2)),
        "logsumexp": lambda: Call(lambda x: x.logsumexp((1, 2))),
        "var": lambda: Call(lambda x: x.var((2, 3))),
        "var, biased": lambda: Call(lambda x: x.var(1, unbiased=False)),
        "var, correction 2": lambda: Call(lambda x: x.var((2, 3), correction=2)),
        "std": lambda: Call(lambda x: x.std((2, 3), keepdim=True)),
        "std, biased": lambda: Call(lambda x: x.std(-1, unbiased=False)),
        "var_mean": lambda: Call(lambda x: sum(torch.var_mean(x, (2, 3)))),
    }


def _activations() -> dict[str, Callable[[], nn.Module]]:
    layers: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "gelu": nn.GELU,
        "gelu, tanh": lambda: nn.GELU("tanh"),
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "hardswish": nn.Hardswish,
        "hardsigmoid": nn.Hardsigmoid,
        "hardtanh": lambda: nn.Hardtanh(-0.3, 0.7),
        "leaky_relu": lambda: nn.LeakyReLU(0.3),
        "prelu": lambda: nn.PReLU(4, 0.2),
        "prelu, one": nn.PReLU,
        "rrelu": lambda: nn.RReLU(0.1, 0.3),
        "elu": lambda: nn.ELU(0.7),
        "celu": lambda: nn.CELU(0.7),
        "selu": nn.SELU,
        "softplus": nn.Softplus,
        "softplus, beta and threshold": lambda: nn.Softplus(2.0, 1.5),
        "softsign": nn.Softsign,
        "softshrink": lambda: nn.Softshrink(0.3),
        "hardshrink": lambda: nn.Hardshrink(0.3),
        "tanhshrink": nn.Tanhshrink,
        "threshold": lambda: nn.Threshold(0.1, 20.0),
        "logsigmoid": nn.LogSigmoid,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "glu": lambda: nn.GLU(1),
        "dropout": lambda: nn.Dropout(0.5),
        "dropout2d": lambda: nn.Dropout2d(0.5),
        "alpha_dropout": lambda: nn.AlphaDropout(0.5),
    }
    return layers


def _resampling() -> dict[str, Callable[[], nn.Module]]:
    table: dict[str, Callable[[], nn.Module]] = {}
    for mode in ("nearest", "nearest-exact", "area"):
        for size in ((16, 20), (13, 7), (5, 5)):
            table[f"interpolate, {mode}, {size[0]} x {size[1]}"] = lambda mode=mode, size=size: Call(
                lambda x: F.interpolate(x, size=size, mode=mode)
            )
    for mode in ("bilinear", "bicubic"):
        for corners in (False, True):
            for size in ((16, 20), (13, 7), (5, 5)):
                name = f"interpolate, {mode}, {size[0]} x {size[1]}" + (", align_corners" if corners else "")
                table[name] = lambda mode=mode, size=size, corners=corners: Call(
                    lambda x: F.interpolate(x, size=size, mode=mode, align_corners=corners)
                )
        for size in ((16, 20), (13, 7), (5, 5)):
            table[f"interpolate, {mode}, {size[0]} x {size[1]}, antialias"] = lambda mode=mode, size=size: Call(
                lambda x: F.interpolate(x, size=size, mode=mode, antialias=True)
            )
        table[f"interpolate, {mode}, 5 x 5, antialias, align_corners"] = lambda mode=mode: Call(
            lambda x: F.interpolate(x, size=(5, 5), mode=mode, antialias=True, align_corners=True)
        )
        table[f"interpolate, {mode}, factor 0.4, antialias"] = lambda mode=mode: Call(
            lambda x: F.interpolate(x, scale_factor=0.4, mode=mode, antialias=True)
        )
    return table


def _factors() -> dict[str, Callable[[], nn.Module]]:
    table: dict[str, Callable[[], nn.Module]] = {}
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        table[f"interpolate, {mode}, factor 1.7"] = lambda mode=mode: Call(
            lambda x: F.interpolate(x, scale_factor=1.7, mode=mode)
        )
        table[f"interpolate, {mode}, factor 0.6, recomputed"] = lambda mode=mode: Call(
            lambda x: F.interpolate(x, scale_factor=0.6, mode=mode, recompute_scale_factor=True)
        )
        table[f"interpolate, {mode}, factors 2 and 0.5"] = lambda mode=mode: Call(
            lambda x: F.interpolate(x, scale_factor=(2.0, 0.5), mode=mode)
        )
    return table


def _grids() -> dict[str, Callable[[], nn.Module]]:
    table: dict[str, Callable[[], nn.Module]] = {}
    grid = {"bilinear": ("zeros", "border", "reflection"), "nearest": ("zeros", "border"), "bicubic": ("zeros",)}
    for mode, paddings in grid.items():
        for padding in paddings:
            for corners in (False, True):
                name = f"grid_sample, {mode}, {padding}" + (", align_corners" if corners else "")
                table[name] = lambda mode=mode, padding=padding, corners=corners: Call(
                    lambda x: F.grid_sample(
                        x, 0.9 * torch.tanh(x[:, :2].permute(0, 2, 3, 1) * 2) * 1.3, mode, padding, corners
                    )
                )
    return table


def _layouts() -> dict[str, Callable[[], nn.Module]]:
    return {
        "affine_grid and grid_sample": lambda: Call(
            lambda x, layer: F.grid_sample(
                x,
                F.affine_grid(
                    0.3 * layer(x.flatten(1)).unflatten(1, (2, 3)), [x.shape[0], 4, 6, 5], align_corners=False
                ),
                align_corners=False,
            ),
            nn.Linear(320, 6),
        ),
        "affine_grid, align_corners": lambda: Call(
            lambda x, layer: F.affine_grid(
                layer(x.flatten(1)).unflatten(1, (2, 3)), [x.shape[0], 4, 6, 5], align_corners=True
            ),
            nn.Linear(320, 6),
        ),
        "interpolate, linear": lambda: Call(lambda x: F.interpolate(x.flatten(2), size=33, mode="linear")),
        "interpolate, trilinear": lambda: Call(
            lambda x: F.interpolate(x.unsqueeze(1), size=(6, 5, 9), mode="trilinear")
        ),
        "pixel_shuffle": lambda: nn.PixelShuffle(2),
        "pixel_shuffle, channels": lambda: nn.Sequential(nn.Conv2d(4, 27, 1), nn.PixelShuffle(3)),
        "pixel_unshuffle": lambda: nn.PixelUnshuffle(2),
        "pixel_unshuffle, one channel": lambda: Call(lambda x: F.pixel_unshuffle(x[:, :1], 2)),
        "channel_shuffle": lambda: nn.ChannelShuffle(2),
        "unfold": lambda: nn.Unfold(3, padding=1, stride=2),
        "unfold, dilation": lambda: nn.Unfold((2, 3), dilation=(2, 1)),
        "fold": lambda: Call(lambda x: F.fold(x.flatten(1).unflatten(1, (16, 20)), (8, 10), 2, stride=2)),
        "fold, overlapping": lambda: Call(lambda x: F.fold(F.unfold(x, 3, padding=1), (8, 10), 3, padding=1)),
        "pad, constant": lambda: Call(lambda x: F.pad(x, (1, 2, 3, 0), value=0.7)),
        "pad, negative": lambda: Call(lambda x: F.pad(x, (-1, 2, 0, -2))),
        "pad, reflect": lambda: Call(lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect")),
        "pad, replicate": lambda: Call(lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate")),
        "pad, circular": lambda: Call(lambda x: F.pad(x, (1, 2, 3, 0), mode="circular")),
        "pad, channels": lambda: Call(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))),
    }


def _attention() -> dict[str, Callable[[], nn.Module]]:
    sdpa = F.scaled_dot_product_attention

    def rows(x: torch.Tensor) -> torch.Tensor:
        """(N, T, C), without a dimension of heads."""
        return heads(x)[:, 0]

    mask = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.4
    mask.fill_diagonal_(True)
    bias = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    return {
        "attention": lambda: Call(lambda x: sdpa(heads(x), heads(x).flip(2), heads(x))),
        "attention without heads": lambda: Call(lambda x: sdpa(rows(x), rows(x).flip(1), rows(x))),
        "attention without heads, causal": lambda: Call(lambda x: sdpa(rows(x), rows(x), rows(x), is_causal=True)),
        "attention without heads, mask": lambda: Call(lambda x: sdpa(rows(x), rows(x), rows(x), attn_mask=mask)),
        "attention without heads, bias and scale": lambda: Call(
            lambda x: sdpa(rows(x), rows(x), rows(x), attn_mask=rows(x) @ rows(x).mT, scale=0.3)
        ),
        "attention, scale": lambda: Call(lambda x: sdpa(heads(x), heads(x), heads(x), scale=0.3)),
        "attention, causal": lambda: Call(lambda x: sdpa(heads(x), heads(x), heads(x), is_causal=True)),
        "attention, causal, fewer queries": lambda: Call(
            lambda x: sdpa(heads(x)[:, :, :3], heads(x), heads(x), is_causal=True)
        ),
        "attention, mask": lambda: Call(lambda x: sdpa(heads(x), heads(x), heads(x), attn_mask=mask)),
        "attention, bias": lambda: Call(lambda x: sdpa(heads(x), heads(x), heads(x), attn_mask=bias)),
        "attention, bias and scale": lambda: Call(
            lambda x: sdpa(heads(x), heads(x), heads(x), attn_mask=bias, scale=0.2)
        ),
        "attention, no heads": lambda: Call(lambda x: sdpa(tokens(x), tokens(x).flip(1), tokens(x))),
        "attention, no heads, scale": lambda: Call(lambda x: sdpa(x[:, 0], x[:, 1], x[:, 2], scale=0.3)),
        "attention, no heads, causal": lambda: Call(lambda x: sdpa(x[:, 0], x[:, 1], x[:, 2], is_causal=True)),
        "attention, no heads, mask": lambda: Call(lambda x: sdpa(x[:, 0], x[:, 1], x[:, 2], attn_mask=mask)),
        "attention, no heads, bias of each sample": lambda: Call(
            lambda x: sdpa(x[:, 0], x[:, 1], x[:, 2], attn_mask=bias * x[:, 0, :1, :1])
        ),
        "attention, grouped queries": lambda: Call(
            lambda x: sdpa(heads(x, 4), heads(x, 4)[:, ::2], heads(x, 4)[:, 1::2], enable_gqa=True)
        ),
        "attention, grouped queries, causal": lambda: Call(
            lambda x: sdpa(heads(x, 4), heads(x, 4)[:, ::2], heads(x, 4)[:, 1::2], is_causal=True, enable_gqa=True)
        ),
        "multi-head attention": lambda: Call(
            lambda x, layer: layer(tokens(x), tokens(x), tokens(x), need_weights=False)[0],
            nn.MultiheadAttention(4, 2, batch_first=True),
        ),
        "multi-head attention, sequence first": lambda: Call(
            lambda x, layer: layer(*[tokens(x).transpose(0, 1)] * 3)[0].transpose(0, 1), nn.MultiheadAttention(4, 2)
        ),
        "multi-head attention, weights": lambda: Call(
            lambda x, layer: layer(tokens(x), tokens(x), tokens(x))[1], nn.MultiheadAttention(4, 2, batch_first=True)
        ),
        "multi-head attention, mask": lambda: Call(
            lambda x, layer: layer(
                *[heads(x)[:, 0]] * 3,
                attn_mask=~mask,
                need_weights=False,
            )[0],
            nn.MultiheadAttention(20, 4, batch_first=True),
        ),
        "multi-head attention, other widths": lambda: Call(
            lambda x, layer: layer(heads(x)[:, 0], tokens(x), tokens(x))[0],
            nn.MultiheadAttention(20, 4, kdim=4, vdim=4, batch_first=True),
        ),
        "transformer encoder layer": lambda: Call(
            lambda x, layer: layer(tokens(x)), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        ),
        "transformer encoder layer, norm first": lambda: Call(
            lambda x, layer: layer(tokens(x)),
            nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True, norm_first=True),
        ),
        "transformer decoder layer": lambda: Call(
            lambda x, layer: layer(tokens(x), tokens(x).flip(1)), nn.TransformerDecoderLayer(4, 2, 8, batch_first=True)
        ),
        "einsum": lambda: Call(lambda x: torch.einsum("nchw,ndhw->ncd", x, x)),
        "einsum, outer": lambda: Call(lambda x: torch.einsum("nch,ndw->nhcwd", x[..., 0], x[..., 1])),
        "einsum with a weight": lambda: Parameterized(lambda x, w: torch.einsum("nchw,dc->ndhw", x, w), 5, 4),
        "matmul": lambda: Call(lambda x: x @ x.transpose(2, 3)),
        "matmul, vector": lambda: Parameterized(lambda x, w: x @ w, 10),
        "bmm": lambda: Call(lambda x: torch.bmm(x[:, 0], x[:, 1].transpose(1, 2))),
        "baddbmm": lambda: Call(
            lambda x: torch.baddbmm(x[:, 2, :, :8], x[:, 0], x[:, 1].transpose(1, 2), beta=0.5, alpha=2.0)
        ),
        "addmm": lambda: Parameterized(lambda x, w: torch.addmm(w[0], x[:, 0, 0], w, beta=0.3, alpha=2.0), 10, 10),
        "cosine_similarity": lambda: Call(lambda x: F.cosine_similarity(x[:, :2], x[:, 2:], dim=1)),
        "cdist": lambda: Call(lambda x: torch.cdist(x[:, 0], x[:, 1])),
        "cdist, p 1": lambda: Call(lambda x: torch.cdist(x[:, 0], x[:, 1], p=1.0)),
        "pairwise_distance": lambda: Call(lambda x: F.pairwise_distance(x[:, 0], x[:, 1])),
        "outer product": lambda: Call(lambda x: x[:, 0, 0, :, None] * x[:, 1, 0, None, :]),
    }


def _recurrent() -> dict[str, Callable[[], nn.Module]]:
    table: dict[str, Callable[[], nn.Module]] = {}
    forms: dict[str, dict[str, Any]] = {
        "": {"batch_first": True},
        ", sequence first": {},
        ", no bias": {"batch_first": True, "bias": False},
        ", two layers": {"batch_first": True, "num_layers": 2},
        ", bidirectional": {"batch_first": True, "bidirectional": True},
        ", bidirectional, two layers": {"batch_first": True, "bidirectional": True, "num_layers": 2},
        ", bidirectional, two layers, no bias, sequence first": {"bidirectional": True, "num_layers": 2, "bias": False},
        ", dropout, three layers": {"batch_first": True, "num_layers": 3, "dropout": 0.5},
    }
    for name, kind in {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}.items():
        for form, options in forms.items():
            table[name + form] = lambda kind=kind, options=options: Rows(kind(40, 6, **options))
        table[f"{name}, last state"] = lambda kind=kind: Rows(
            kind(40, 6, num_layers=2, bidirectional=True, batch_first=True), "state"
        )
        table[f"{name}, given state"] = lambda kind=kind: Started(kind(40, 6, batch_first=True))
    return table | {
        "rnn, relu": lambda: Rows(nn.RNN(40, 6, nonlinearity="relu", batch_first=True)),
        "lstm, projection": lambda: Rows(nn.LSTM(40, 6, proj_size=3, batch_first=True)),
        "gru_cell": lambda: Call(lambda x, layer: layer(x[:, 0, 0], x[:, 1, 0, :6]), nn.GRUCell(10, 6)),
        "lstm_cell": lambda: Call(
            lambda x, layer: torch.cat(layer(x[:, 0, 0], (x[:, 1, 0, :6], x[:, 2, 0, :6])), 1), nn.LSTMCell(10, 6)
        ),
        "rnn_cell": lambda: Call(lambda x, layer: layer(x[:, 0, 0], x[:, 1, 0, :6]), nn.RNNCell(10, 6)),
    }


def _shapes() -> dict[str, Callable[[], nn.Module]]:
    index = torch.tensor([3, 0, 2])
    functions: dict[str, Callable[..., Any]] = {
        "cat": lambda x: torch.cat([x, x * 2], 1),
        "stack": lambda x: torch.stack([x, x.abs()], 2),
        "split": lambda x: x.split((1, 3), 1)[1],
        "chunk": lambda x: torch.cat(x.chunk(3, 3)[::-1], 3),
        "unbind": lambda x: x.unbind(1)[2],
        "tensor_split": lambda x: x.tensor_split(3, dim=3)[1],
        "slice, step": lambda x: x[:, ::2, 1::3, :-1],
        "slice, ellipsis": lambda x: x[..., -3:],
        "select, negative": lambda x: x[:, -1],
        "narrow": lambda x: x.narrow(2, 1, 4),
        "roll": lambda x: x.roll((2, -3), (2, 3)),
        "roll, all": lambda x: x[:, 0].roll(3, 1),
        "flip": lambda x: x.flip(2, 3),
        "rot90": lambda x: x.rot90(1, (2, 3)),
        "permute": lambda x: x.permute(0, 3, 1, 2),
        "movedim": lambda x: x.movedim(1, -1),
        "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1),
        "repeat": lambda x: x.repeat(1, 2, 1, 3),
        "tile": lambda x: x.tile((2, 1, 2)),
        "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
        "tril": lambda x: x.tril(1),
        "triu": lambda x: x.triu(-1),
        "diagonal": lambda x: x.diagonal(1, 2, 3),
        "meshgrid": lambda x: x + sum(torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="ij")),
        "meshgrid, xy": lambda x: x + torch.meshgrid(torch.arange(10.0), torch.arange(8.0), indexing="xy")[0],
        "index_select": lambda x: x.index_select(1, index),
        "index, tensor": lambda x: x[:, index],
        "index, two tensors": lambda x: x[:, index, index + 1],
        "index, tensors apart": lambda x: x[:, index, :, index],
        "gather": lambda x: x.gather(1, (x > 0).long()),
        "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(3), 3),
        "scatter": lambda x: torch.zeros_like(x).scatter(1, (x > 0).long(), x),
        "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, (x > 0).long(), x),
        "index_add": lambda x: x.index_add(1, index, x[:, :3]),
        "masked_fill": lambda x: x.masked_fill(x > 0.5, -1.0),
        "where": lambda x: torch.where(x > 0, x, 0.1 * x),
        "where, scalar": lambda x: torch.where(x > 0, 1.0, x),
        "one_hot": lambda x: F.one_hot(x.argmax(1), 4).float(),
        "embedding": lambda x, layer: layer(x.argmax(1)),
        "bucketize": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5])).float(),
        "cumsum": lambda x: x.cumsum(2),
        "cumprod": lambda x: x.cumprod(3),
        "cummax": lambda x: x.cummax(3)[0],
        "topk": lambda x: x.topk(3, 3)[0],
        "topk, smallest": lambda x: x.topk(2, 1, largest=False)[0],
        "sort": lambda x: x.sort(2)[0],
        "sort, descending": lambda x: x.sort(1, descending=True)[0],
        "argsort": lambda x: x.argsort(3).float(),
        "argmax": lambda x: x.argmax(1).float(),
        "argmin, kept": lambda x: x.argmin(3, keepdim=True).float(),
        "max with indices": lambda x: x.max(1)[0] + x.max(1)[1],
        "median": lambda x: x.median(3)[0],
        "kthvalue": lambda x: x.kthvalue(3, 3)[0],
        "unflatten": lambda x: x.unflatten(3, (2, 5)).transpose(3, 4),
        "as complex product": lambda x: torch.view_as_real(
            torch.view_as_complex(x.unflatten(3, (5, 2)).contiguous()) ** 2
        ),
        "fft2 and back": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=(8, 10)),
        "nonzero count": lambda x: (x > 0).sum((2, 3)).float(),
    }
    table: dict[str, Callable[[], nn.Module]] = {
        name: lambda function=function: Call(function) for name, function in functions.items() if name != "embedding"
    }
    return table | {
        "embedding": lambda: Call(functions["embedding"], nn.Embedding(4, 3)),
        "embedding, padding": lambda: Call(functions["embedding"], nn.Embedding(4, 3, padding_idx=0)),
    }


def _arithmetic() -> dict[str, Callable[[], nn.Module]]:
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "add, alpha": lambda x: torch.add(x, x.abs(), alpha=0.3),
        "sub, alpha": lambda x: torch.sub(x, x.abs(), alpha=2),
        "rsub": lambda x: 1.5 - x,
        "mul, broadcast": lambda x: x * x.mean((2, 3), keepdim=True),
        "div": lambda x: x / (x.abs() + 0.5),
        "div, floor": lambda x: torch.div(10 * x, 3.0, rounding_mode="floor"),
        "div, trunc": lambda x: torch.div(10 * x, 3.0, rounding_mode="trunc"),
        "floor_divide, negative integers": lambda x: (10 * x).int().floor_divide(3).float(),
        "floor_divide, negative divisor": lambda x: (10 * x).int().floor_divide(-3).float(),
        "div, trunc, integers": lambda x: torch.div((10 * x).int(), 3, rounding_mode="trunc").float(),
        "remainder": lambda x: (7 * x).remainder(3.0),
        "remainder, negative divisor": lambda x: (7 * x).remainder(-3.0),
        "remainder, integers": lambda x: (20 * x).int().remainder(7).float(),
        "remainder, negative integers": lambda x: (20 * x).int().remainder(-7).float(),
        "fmod": lambda x: (7 * x).fmod(3.0),
        "fmod, integers": lambda x: (20 * x).int().fmod(7).float(),
        "clamp": lambda x: x.clamp(-0.4, 0.9),
        "clamp, low": lambda x: x.clamp(min=-0.2),
        "clamp, high": lambda x: x.clamp(max=0.3),
        "clamp, tensors": lambda x: torch.clamp(x, x.mean(1, keepdim=True), x.abs().mean(1, keepdim=True) + 1),
        "minimum": lambda x: torch.minimum(x, x.flip(3)),
        "maximum": lambda x: torch.maximum(x, x.flip(3)),
        "round half to even": lambda x: ((8 * x).round() / 2).round(),
        "round, decimals": lambda x: x.round(decimals=1),
        "floor": lambda x: (3 * x).floor(),
        "ceil": lambda x: (3 * x).ceil(),
        "trunc": lambda x: (3 * x).trunc(),
        "frac": lambda x: (3 * x).frac(),
        "abs": lambda x: x.abs(),
        "sign": lambda x: x.relu().sign() + x.sign(),
        "sqrt": lambda x: x.abs().sqrt(),
        "rsqrt": lambda x: (x.abs() + 0.1).rsqrt(),
        "reciprocal": lambda x: (x.abs() + 0.1).reciprocal(),
        "square": lambda x: x.square(),
        "pow": lambda x: x.abs() ** 1.7,
        "pow, integer": lambda x: x**3,
        "pow, scalar base": lambda x: 2.0**x,
        "exp": lambda x: x.exp(),
        "expm1": lambda x: (x / 100).expm1(),
        "log": lambda x: (x.abs() + 0.01).log(),
        "log1p": lambda x: (x.abs() / 100).log1p(),
        "log2": lambda x: (x.abs() + 0.01).log2(),
        "log10": lambda x: (x.abs() + 0.01).log10(),
        "logaddexp": lambda x: torch.logaddexp(x, x.flip(3)),
        "sin": lambda x: (3 * x).sin(),
        "cos": lambda x: (3 * x).cos(),
        "atan": lambda x: x.atan(),
        "atan2": lambda x: torch.atan2(x, x.flip(2)),
        "erf": lambda x: x.erf(),
        "sinh": lambda x: x.sinh(),
        "asinh": lambda x: x.asinh(),
        "hypot": lambda x: torch.hypot(x, x.flip(2)),
        "lerp": lambda x: x.lerp(x.flip(3), 0.3),
        "addcmul": lambda x: torch.addcmul(x, x.flip(2), x.flip(3), value=0.7),
        "addcdiv": lambda x: torch.addcdiv(x, x.flip(2), x.abs() + 1, value=0.7),
        "nan_to_num": lambda x: (x.abs() / x.relu()).nan_to_num(0.5, 3.0, -2.0),
        "isnan": lambda x: (x.relu() / x.relu()).isnan().float(),
        "logical": lambda x: ((x > 0) & (x < 1) | ~(x > -1)).float(),
        "xor": lambda x: ((x > 0) ^ (x.flip(3) > 0)).float(),
        "equal": lambda x: (x.argmax(1) == x.argmin(1)).float(),
        "bitwise shift": lambda x: (((10 * x).int().abs() << 2) >> 1).float(),
        "sum": lambda x: x.sum((1, 3)),
        "prod": lambda x: x[..., :3].prod(3),
        "all and any": lambda x: (x > -1).all(1).float() + (x > 1).any(2).float().sum((1, 2), keepdim=True),
        "int cast": lambda x: (5 * x).to(torch.int64).float(),
        "bool cast": lambda x: x.relu().bool().float(),
        "double": lambda x: (x.double() * 1.1).float(),
        "sum over everything but the batch": lambda x: x.flatten(1).sum(1),
        "diff": lambda x: x.diff(dim=3),
        "nanmean": lambda x: x.nanmean(1),
    }
    return {name: lambda function=function: Call(function) for name, function in functions.items()}


OPERATORS: dict[str, Callable[[], nn.Module]] = (
    _convolutions()
    | _pools()
    | _norms()
    | _activations()
    | _resampling()
    | _factors()
    | _grids()
    | _layouts()
    | _attention()
    | _recurrent()
    | _shapes()
    | _arithmetic()
)


REFUSED = {
    "adaptive_max_pool2d, not divisible",
    "as complex product",
    "cdist",
    "cdist, p 1",
    "cummax",
    "cumprod",
    "fractional_max_pool2d",
    "hypot",
    "kthvalue",
    "lstm, projection",
    "median",
    "rrelu",
    "take_along_dim",
}
"""Operators that torch's exporter does not know, with a dynamic batch at least, or that are random in eval mode."""


def make_operator(name: str) -> nn.Module:
    """The network in eval mode, with weights and statistics that are nobody's defaults."""
    torch.manual_seed(0)
    network = OPERATORS[name]()
    for module in network.modules():
        for key, buffer in module.named_buffers(recurse=False):
            if key == "running_mean":
                buffer.normal_()
            if key == "running_var":
                buffer.uniform_(0.5, 2.0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def make_inputs(n: int, seed: int = 1) -> torch.Tensor:
    """(n, 4, 8, 10)."""
    return torch.randn(n, *INPUT_SHAPE, generator=torch.Generator().manual_seed(seed))
