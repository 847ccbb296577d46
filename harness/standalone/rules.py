"""How image files are read, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@dataclass(frozen=True)
class DecodeRules:
    """How pixels of every kind become `channels` channels of 8 bits."""

    channels: Literal[1, 3] = 3
    background: tuple[int, int, int] | None = None
    """RGB that transparent pixels are laid on; None: such images are refused."""
    value_range: tuple[float, float] | None = None
    """Stored values that become 0 and 255, for images of more than 8 bits."""
    apply_orientation: bool = True
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class CropRules:
    """How a decoded photo is resized, and its centre cropped."""

    side: int
    """Height and width of the network's input."""
    resize: int | tuple[int, int] | None = None
    """Length of the shorter side, or (height, width), to which every image is stretched; None: `DEFAULT_RESIZE`, and
    images of `side` x `side` are taken as they are."""
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    channels: Literal[1, 3] = 3
    channel_order: Literal["rgb", "bgr"] = "rgb"
    max_pixels: int = 100_000_000
