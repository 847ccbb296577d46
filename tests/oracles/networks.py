"""Small networks, each with something that quantizers get wrong."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule

from harness.quantization.capture.graph import capture

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


class Grouped(nn.Module):
    """Grouped and depthwise convolutions of both kernel sizes, pooling to 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, 2)
        self.grouped = conv_bn(8, 16, 3, groups=4)
        self.depthwise = conv_bn(16, 16, 5, groups=16)
        self.head = nn.Linear(16 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.grouped(F.relu(self.stem(x))))
        x = F.relu(self.depthwise(F.avg_pool2d(x, 2)))
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Gated(nn.Module):
    """SiLU, leaky ReLU, and squeeze-and-excitation with a sigmoid gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, 2)
        self.conv = conv_bn(8, 8)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.mix = conv_bn(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.conv(F.silu(self.stem(x))), 0.1)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean([2, 3], keepdim=True)))))
        return self.head(F.relu(self.mix(x * gate)).mean([2, 3]))


class Upsampled(nn.Module):
    """Nearest upsampling, concatenated with the map it came from; channels selected and shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.down = conv_bn(8, 8, 3, 2)
        self.merge = conv_bn(16, 16)
        self.head = nn.Linear(4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([F.interpolate(F.relu(self.down(x)), scale_factor=2), x], 1)
        left, right = F.relu(self.merge(x)).chunk(2, 1)
        return self.head(F.avg_pool2d(F.pixel_shuffle(left + right, 2), 8).flatten(1)[:, :16])


NETWORKS = {
    "residual": Residual,
    "depthwise": Depthwise,
    "concat": Concat,
    "grouped": Grouped,
    "gated": Gated,
    "upsampled": Upsampled,
}
"""Networks whose every op has an integer kernel in ONNX Runtime."""


class Transposed(nn.Module):
    """Transposed convolutions, without and with groups, between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, 2)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2, bias=False)
        self.up_bn = nn.BatchNorm2d(6)
        self.down = conv_bn(6, 8, 3, 2)
        self.grouped = nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=2)
        self.grouped_bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.up_bn(self.up(F.relu(self.stem(x)))))
        x = F.relu(self.grouped_bn(self.grouped(F.relu(self.down(x)))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class HardSwish(nn.Module):
    """Hard-swish as one op and written out, a hard-sigmoid gate, division by a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, 3, 2)
        self.conv1 = conv_bn(8, 8)
        self.conv2 = conv_bn(8, 8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(F.hardswish(self.stem(x)))
        x = self.conv2(x * F.relu6(x + 3) / 6)
        x = x * F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = F.relu(x / (1 + x.abs()))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Encoder(nn.Module):
    """A transformer block (packed self-attention, layer norm, GELU) on patches, with a learned position."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.block(tokens).mean(1))


class Attention(nn.Module):
    """Attention written out: one projection in three chunks, matmul, softmax, matmul; projections of 3-D tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).chunk(3, -1)
        attended = torch.softmax(q @ k.transpose(1, 2), -1) @ v
        return self.head(F.relu(self.out(attended) + tokens)[:, 0])


class CrossAttention(nn.Module):
    """nn.MultiheadAttention between two maps: its packed projection is cut into three weights."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 16, 4, 4)
        self.right = nn.Conv2d(3, 16, 8, 8)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = (conv(x).flatten(2).transpose(1, 2) for conv in (self.left, self.right))
        return self.head(self.attention(left, right, right, need_weights=False)[0].mean(1))


class DenseNet(nn.Module):
    """Inception and dense blocks: max pooling as a branch, a concatenation inside a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.point = conv_bn(8, 4, 1)
        self.wide = conv_bn(8, 4, 3)
        self.grow = conv_bn(16, 4, 3)
        self.head = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        pooled = F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([F.relu(self.point(x)), F.relu(self.wide(x)), pooled], 1)
        x = torch.cat([x, F.relu(self.grow(x))], 1)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class ConvolutionLast(nn.Module):
    """A fully convolutional network: its output is that of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.head = nn.Conv2d(8, 5, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.stem(x))).flatten(1)


MIXED_NETWORKS = {
    "transposed": Transposed,
    "hardswish": HardSwish,
    "encoder": Encoder,
    "attention": Attention,
    "crossattention": CrossAttention,
    "dense": DenseNet,
    "convlast": ConvolutionLast,
}
"""Networks of which some ops stay in float in ONNX Runtime."""


@functools.cache
def captured(name: str) -> GraphModule:
    """The captured network; capturing takes a second."""
    return capture(make_network(name), INPUT_SHAPE)


def make_network(name: str, seed: int = 0) -> nn.Module:
    """A network with batch norm statistics that fit its weights, in eval mode."""
    torch.manual_seed(seed)
    network = (NETWORKS | MIXED_NETWORKS)[name]()
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(torch.randn(32, *INPUT_SHAPE))
    return network.eval()


def make_batch(n: int = 64, seed: int = 1) -> torch.Tensor:
    """Inputs (n, 3, 16, 16)."""
    return torch.randn(n, *INPUT_SHAPE, generator=torch.Generator().manual_seed(seed))
