"""Random transforms of training images, on whole batches at once.

Torch is imported when one is used: their names are needed to check a scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import DataError, unknown_name

if TYPE_CHECKING:
    import torch

Augmentation: TypeAlias = "Callable[[torch.Tensor, torch.Generator], torch.Tensor]"
"""Raw images (N, C, H, W) of any dtype and a seeded generator → new images of the same shape and dtype."""

CROP_FRACTION = 8
"""The padding of `random_crop` is the shorter side divided by this: 4 pixels of 32, 3 of 28."""


def random_crop(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to the padding in either direction; what comes in from outside is 0 (black)."""
    import torch
    import torch.nn.functional as F

    n, _, height, width = images.shape
    pad = min(height, width) // CROP_FRACTION
    offsets = torch.randint(0, 2 * pad + 1, (2, n), generator=generator)
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(n), :, offsets[0], offsets[1]]


def horizontal_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image left to right with probability one half."""
    import torch

    mirrored = torch.rand(images.shape[0], generator=generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


AUGMENTATIONS: dict[str, Augmentation] = {
    "random_crop": random_crop,
    "horizontal_flip": horizontal_flip,
}


def augmentations(names: Iterable[str]) -> tuple[Augmentation, ...]:
    """The transforms of these names, in order; DataError names the nearest for an unknown one."""
    chosen = []
    for name in names:
        if name not in AUGMENTATIONS:
            message, fix = unknown_name("augmentation", name, AUGMENTATIONS)
            raise DataError(message, fix=fix)
        chosen.append(AUGMENTATIONS[name])
    return tuple(chosen)
