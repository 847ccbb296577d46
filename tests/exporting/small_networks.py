"""Miniatures of the networks that people deploy, for counting and auditing: each with (C, H, W) or alike of its input.

The third entry is the count written out, where torch's counter sees nothing (its recurrent layers are one operator).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Function(nn.Module):
    """Layers, and what `forward` does with them."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7, layer norm and MLP with the channels last, layer scale (Liu et al., 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand, self.project = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        for layer in (self.depthwise, self.expand, self.project):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.project(F.gelu(self.expand(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """Stem, block, downsampling, block; every bias is zero, as torchvision initializes it."""
    stem, down = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 16, 2, 2)
    for layer in (stem, down):
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return nn.Sequential(
        nn.Sequential(stem, ChannelNorm(8)), ConvNextBlock(8), nn.Sequential(ChannelNorm(8), down), ConvNextBlock(16),
        nn.AdaptiveAvgPool2d(1), ChannelNorm(16), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


class SwinBlock(nn.Module):
    """Attention in shifted windows with a relative position bias, and an MLP (Liu et al., 2021); (N, H, W, C)."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros(1, heads, window**2, window**2))
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        w = self.window
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(n, height // w, w, width // w, w, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, channels)
        q, k, v = self.qkv(y).reshape(-1, w * w, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q * (channels // self.heads) ** -0.5 @ k.transpose(-2, -1) + self.bias).softmax(-1)
        y = self.proj((weights @ v).transpose(1, 2).reshape(-1, w * w, channels))
        y = y.view(n, height // w, width // w, w, w, channels).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


def swin() -> nn.Module:
    """Patches, a block without and one with a shift, merging of patches, head."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = self.shifted(self.plain(self.patch(x).permute(0, 2, 3, 1)))
        parts = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return self.head(self.reduce(torch.cat(parts, -1)).mean((1, 2)))

    return Function(
        forward, patch=nn.Conv2d(3, 8, 4, 4), plain=SwinBlock(8, 2, 4, 0), shifted=SwinBlock(8, 2, 4, 2),
        reduce=nn.Linear(32, 16, bias=False), head=nn.Linear(16, 5),
    )  # fmt: skip


def mobilevit() -> nn.Module:
    """Patches of a feature map unfolded, attended to pixel by pixel, and folded back (Mehta and Rastegari, 2022)."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y = self.local(x)
        n, c, h, w = y.shape
        y = y.reshape(n * c, h // 2, 2, w // 2, 2).transpose(2, 3).reshape(n, c, h * w // 4, 4).permute(0, 3, 2, 1)
        q, k, v = self.qkv(y).chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v).permute(0, 3, 2, 1)
        y = y.reshape(n * c, h // 2, w // 2, 2, 2).transpose(2, 3).reshape(n, c, h, w)
        return self.head(self.fuse(torch.cat([x, y], 1)).mean((2, 3)))

    return Function(
        forward, local=nn.Conv2d(4, 4, 3, padding=1), qkv=nn.Linear(4, 12), fuse=nn.Conv2d(8, 4, 3, padding=1),
        head=nn.Linear(4, 5),
    )  # fmt: skip


def groupnorm() -> nn.Module:
    """Convolutions behind group norms, whose output shapes ONNX's inference does not find."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8),
        nn.ReLU(), nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def squeeze_excite() -> nn.Module:
    """MobileNetV3's gate and activation, several times."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        for _ in range(4):
            y = F.hardswish(self.conv(x))
            x = x + y * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        return self.head(x.mean((2, 3)))

    return Function(
        forward,
        conv=nn.Conv2d(4, 4, 3, padding=1),
        down=nn.Conv2d(4, 2, 1),
        up=nn.Conv2d(2, 4, 1),
        head=nn.Linear(4, 5),
    )


def einsum_attention() -> nn.Module:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y = self.embed(x.flatten(2).transpose(1, 2))
        weights = torch.einsum("bic,bjc->bij", y, y).softmax(-1)
        return self.head(torch.einsum("bij,bjc->bic", weights, y).mean(1))

    return Function(forward, embed=nn.Linear(3, 8), head=nn.Linear(8, 5))


def causal() -> nn.Module:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, -1)
        return self.head(F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1).mean(1))

    return Function(forward, qkv=nn.Linear(3, 24), head=nn.Linear(8, 5))


def twice() -> nn.Module:
    """A head on two scales with the same weights."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        fine = F.relu(self.stem(x))
        scales = (fine, F.max_pool2d(fine, 2))
        return sum((self.classify(F.relu(self.head(each)).mean((2, 3))) for each in scales), torch.zeros(()))

    return Function(
        forward, stem=nn.Conv2d(3, 8, 3, padding=1), head=nn.Conv2d(8, 8, 3, padding=1), classify=nn.Linear(8, 5)
    )


def lstm() -> nn.Module:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.flatten(2).transpose(1, 2))[0].mean(1))

    return Function(
        forward, lstm=nn.LSTM(3, 8, num_layers=2, bidirectional=True, batch_first=True), head=nn.Linear(16, 5)
    )


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip


def one_and_three_dimensions() -> nn.Module:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        line = F.relu(self.line(x.flatten(2)))[..., :1].flatten(1)
        return self.head(torch.cat([line, F.relu(self.volume(x.unsqueeze(1))).mean((2, 3, 4))], 1))

    return Function(forward, line=nn.Conv1d(3, 4, 5, 3), volume=nn.Conv3d(1, 4, 3), head=nn.Linear(8, 5))


def computed_kernel() -> nn.Module:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        kernel = self.make(self.basis).view(4, 3, 3, 3)
        kernel = kernel * x.mean()  # nothing to fold
        return self.head(F.conv2d(x, kernel).mean((2, 3)))

    network = Function(forward, make=nn.Linear(2, 108, bias=False), head=nn.Linear(4, 5))
    network.register_buffer("basis", torch.ones(2))
    return network


_STEPS = 16 * 16
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int | None]] = {
    "convnext": (convnext, (3, 16, 16), None),
    "swin": (swin, (3, 32, 32), None),
    "mobilevit": (mobilevit, (4, 8, 8), None),
    "groupnorm": (groupnorm, (3, 16, 16), None),
    "squeeze_excite": (squeeze_excite, (4, 8, 8), None),
    "einsum_attention": (einsum_attention, (3, 4, 4), None),
    "causal": (causal, (3, 4, 4), None),
    "twice": (twice, (3, 8, 8), None),
    "transposed": (transposed, (3, 8, 8), None),
    "one_and_three_dimensions": (one_and_three_dimensions, (3, 8, 8), None),
    # 4 x 49 outputs of 27, and the head; the kernel itself is computed from constants.
    "computed_kernel": (computed_kernel, (3, 9, 9), 4 * 49 * 27 + 4 * 5),
    # Two directions of four gates: inputs 3 and 16, states of 8.
    "lstm": (lstm, (3, 16, 16), _STEPS * 2 * 4 * 8 * (3 + 8) + _STEPS * 2 * 4 * 8 * (16 + 8) + 16 * 5),
}
