"""Small networks, each with something that quantizers get wrong."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule

from harness.quantization.capture import capture

INPUT_SHAPE = (3, 16, 16)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    """Convolution, identity branch, add, ReLU, global average pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.conv1 = conv_bn(8, 8)
        self.conv2 = conv_bn(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.conv2(F.relu(self.conv1(x))) + x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Depthwise(nn.Module):
    """ReLU6, depthwise convolution, max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = conv_bn(3, 16, 1)
        self.depthwise = conv_bn(16, 16, 3, 2, groups=16)
        self.project = conv_bn(16, 8, 1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.depthwise(F.relu6(self.expand(x))))
        return self.head(self.pool(self.project(x)).flatten(1))


class Concat(nn.Module):
    """Two branches of different range, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.left = conv_bn(3, 6, 1)
        self.right = conv_bn(3, 6, 3)
        self.merge = conv_bn(12, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], dim=1)
        return self.head(F.avg_pool2d(F.relu(self.merge(x)), 16).flatten(1))


NETWORKS = {"residual": Residual, "depthwise": Depthwise, "concat": Concat}


@functools.cache
def captured(name: str) -> GraphModule:
    """The captured network; capturing takes a second."""
    return capture(make_network(name), INPUT_SHAPE)


def make_network(name: str, seed: int = 0) -> nn.Module:
    """A network with batch norm statistics that fit its weights, in eval mode."""
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(torch.randn(32, *INPUT_SHAPE))
    return network.eval()


def make_batch(n: int = 64, seed: int = 1) -> torch.Tensor:
    """Inputs (n, 3, 16, 16)."""
    return torch.randn(n, *INPUT_SHAPE, generator=torch.Generator().manual_seed(seed))
