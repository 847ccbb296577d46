"""Ten small networks of different kinds, as the checks of the steps meet them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from oracles.networks import Concat, Depthwise, Encoder, Gated, conv_bn
from torch import nn

from models.mobilenet import mobilenet_v2_small
from models.resnet import resnet8
from models.segmentation import unet_small

INPUT_SHAPE = (3, 16, 16)


class GroupNormNet(nn.Module):
    """Group norm, which cannot be folded, around a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm1 = nn.GroupNorm(2, 8)
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)
        self.norm2 = nn.GroupNorm(4, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.stem(x)))
        x = F.relu(self.norm2(self.conv(x)) + x)
        return self.head(x.mean((2, 3)))


class RowsLstm(nn.Module):
    """A convolution, then an LSTM over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4, 3, 2)
        self.lstm = nn.LSTM(32, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x)).transpose(1, 2).flatten(2)
        return self.head(self.lstm(x)[0][:, -1])


class Dense(nn.Module):
    """Linear layers with batch norm, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(768, 24)
        self.norm = nn.BatchNorm1d(24)
        self.second = nn.Linear(24, 16, bias=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first(x.flatten(1))))
        return self.head(F.relu(self.second(x)))


VERIFIED: dict[str, Callable[[], nn.Module]] = {
    "resnet8": lambda: resnet8(in_channels=3, n_classes=5, width=4),
    "mobilenet": lambda: mobilenet_v2_small(in_channels=3, n_classes=5, width=8),
    "vit": Encoder,
    "groupnorm": GroupNormNet,
    "depthwise": Depthwise,
    "unet": lambda: unet_small(in_channels=3, n_classes=3, width=4),
    "lstm": RowsLstm,
    "concat": Concat,
    "squeeze-excite": Gated,
    "dense": Dense,
}


def make_verified(name: str, seed: int = 0) -> nn.Module:
    """The network in eval mode, with batch norm statistics that fit its weights."""
    torch.manual_seed(seed)
    network = VERIFIED[name]()
    with torch.no_grad():
        network.train()
        for _ in range(10):
            network(torch.randn(32, *INPUT_SHAPE))
    return network.eval()


def make_samples(n: int, seed: int = 1) -> torch.Tensor:
    """(n, 3, 16, 16)."""
    return torch.randn(n, *INPUT_SHAPE, generator=torch.Generator().manual_seed(seed))
