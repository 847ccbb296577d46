"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width at stride 1; its bias is the batch norm's."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, H, W) → (N, out, H / stride, W / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: torch.Tensor = self.relu2(y + self.shortcut(x))
        return out


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))


class ResNet(nn.Module):
    """A stem, stages `layer1`, `layer2`, … of basic blocks, global average pooling and a linear head."""

    def __init__(self, stem: nn.Module, widths: list[int], blocks_per_stage: int, n_classes: int) -> None:
        super().__init__()
        self.stem = stem
        self.stages = [f"layer{index}" for index in range(1, len(widths) + 1)]
        in_channels = widths[0]
        for index, (name, width) in enumerate(zip(self.stages, widths, strict=True)):
            first = BasicBlock(in_channels, width, stride=1 if index == 0 else 2)
            rest = [BasicBlock(width, width) for _ in range(blocks_per_stage - 1)]
            self.add_module(name, nn.Sequential(first, *rest))
            in_channels = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(in_channels, n_classes)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → logits (N, n_classes)."""
        x = self.stem(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: torch.Tensor = self.head(self.pool(x).flatten(1))
        return logits


def _initialise(module: nn.Module) -> None:
    """He initialisation of convolutions, as in the paper."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resnet8(in_channels: int = 1, n_classes: int = 10, width: int = 16) -> ResNet:
    """Three stages of one block each, for small images: 78,000 parameters at width 16."""
    conv = conv3x3(in_channels, width)
    stem = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(width), relu=nn.ReLU()))
    return ResNet(stem, [width, 2 * width, 4 * width], blocks_per_stage=1, n_classes=n_classes)


def resnet18(in_channels: int = 3, n_classes: int = 1000) -> ResNet:
    """The ImageNet network of the paper, for 224x224 images: 11.7 million parameters."""
    stem = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False),
            bn=nn.BatchNorm2d(64),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
    )
    return ResNet(stem, [64, 128, 256, 512], blocks_per_stage=2, n_classes=n_classes)
