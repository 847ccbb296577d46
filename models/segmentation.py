"""A small encoder and decoder for segmentation (after U-Net, Ronneberger et al., arXiv:1505.04597)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ConvBlock(nn.Sequential):
    """A 3x3 convolution, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """Two steps down, two steps up with additive skip connections, and a 1x1 head: logits for every pixel."""

    def __init__(self, in_channels: int, n_classes: int, width: int) -> None:
        super().__init__()
        self.stem = ConvBlock(in_channels, width)
        self.down1 = ConvBlock(width, 2 * width, stride=2)
        self.down2 = ConvBlock(2 * width, 4 * width, stride=2)
        self.bottom = ConvBlock(4 * width, 2 * width)
        self.up1 = ConvBlock(2 * width, width)
        self.up2 = ConvBlock(width, width)
        self.head = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, H, W) → (N, n_classes, H, W); H and W are multiples of 4."""
        full = self.stem(x)
        half = self.down1(full)
        low = self.bottom(self.down2(half))
        up = self.up1(half + F.interpolate(low, scale_factor=2.0, mode="nearest"))
        up = self.up2(full + F.interpolate(up, scale_factor=2.0, mode="nearest"))
        logits: torch.Tensor = self.head(up)
        return logits


def unet_small(in_channels: int = 1, n_classes: int = 3, width: int = 8) -> UNet:
    """About 14,000 parameters at width 8."""
    return UNet(in_channels, n_classes, width)
