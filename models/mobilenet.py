"""Inverted residuals with depthwise convolutions (Sandler et al., "MobileNetV2", arXiv:1801.04381).

Depthwise channels differ widely in range, which makes them the hard case for per-tensor weight quantization.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution, batch norm and, unless it is a projection, ReLU6."""
    padding = kernel_size // 2
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
        bn=nn.BatchNorm2d(out_channels),
    )
    if activation:
        layers["relu6"] = nn.ReLU6()
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise convolution, linear 1x1 projection; added to the input where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = conv_bn(in_channels, hidden, 1)
        self.depthwise = conv_bn(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = conv_bn(hidden, out_channels, 1, activation=False)
        self.has_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, H, W) → (N, out, H / stride, W / stride)."""
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_residual else y


class MobileNetV2(nn.Module):
    """A stem, inverted residuals in `blocks`, a 1x1 convolution, global average pooling and a linear head."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, channels: int, features: int, n_classes: int) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.features = conv_bn(channels, features, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(features, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → logits (N, n_classes)."""
        x = self.features(self.blocks(self.stem(x)))
        logits: torch.Tensor = self.head(self.pool(x).flatten(1))
        return logits


def mobilenet_v2_small(in_channels: int = 1, n_classes: int = 10, width: int = 16) -> MobileNetV2:
    """Five inverted residuals for small images: 76,000 parameters at width 16."""
    blocks = nn.Sequential(
        InvertedResidual(width, width, stride=1, expansion=2),
        InvertedResidual(width, 2 * width, stride=2, expansion=4),
        InvertedResidual(2 * width, 2 * width, stride=1, expansion=4),
        InvertedResidual(2 * width, 4 * width, stride=2, expansion=4),
        InvertedResidual(4 * width, 4 * width, stride=1, expansion=4),
    )
    stem = conv_bn(in_channels, width, 3)
    return MobileNetV2(stem, blocks, channels=4 * width, features=8 * width, n_classes=n_classes)
