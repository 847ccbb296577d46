"""From a photo to the network's input: every step is an argument, and no other step happens."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.fields import Count
from harness.standalone.crop import DEFAULT_RESIZE, centre_crop, channels_of, resized_part
from harness.standalone.decode import Pixels
from harness.standalone.rules import CropRules, DecodeRules, Interpolation

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST_SHARE = 0.35
"""Smallest share of the photo's area that a random crop shows. The aspect ratio is at most 4:3 either way."""
LARGEST_ASPECT = 4 / 3

Byte = Annotated[int, Ge(0), Le(255)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Gt(0), Field(allow_inf_nan=False)]


class ImageArgs(BaseModel):
    """How image files become inputs of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Count = 224
    """Height and width of the network's input. Alone, without `resize`: images of exactly this size are taken as they
    are; larger ones are resized so that the shorter side is `size` * 8 / 7 (256 for 224), and the centre is cropped;
    smaller ones, and a mixture of both, are refused."""
    crop: Count | None = None
    """Another name for `size`."""
    resize: Count | tuple[Count, Count] | None = None
    """Length of the shorter side before the centre is cropped, or `[HEIGHT, WIDTH]`, to which every image is stretched.
    Smaller images are enlarged."""
    interpolation: Interpolation = "bilinear"
    """Filter of resizing; those of Pillow."""
    antialias: bool = True
    """Whether pixels that a smaller image leaves out are averaged in, as Pillow and torchvision do; OpenCV does not.
    `false` is for `nearest`, `bilinear` and `bicubic`."""
    channels: Literal[1, 3] = 3
    """Channels of the network's input: 3 repeats grey images, 1 converts colour images to grey."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """`bgr` for networks from Caffe and OpenCV."""
    value_scale: Literal[1, 255] = 1
    """What white is before `mean` and `std` are applied."""
    mean: tuple[Finite, ...] | None = None
    """Subtracted from each channel, in `channel_order`. Empty: ImageNet's for 3 channels, 0.5 for one; times
    `value_scale`, as is `std`."""
    std: tuple[Deviation, ...] | None = None
    """Each channel is divided by it. Empty: ImageNet's for 3 channels, 0.25 for one."""
    background: tuple[Byte, Byte, Byte] | None = None
    """`[R, G, B]` on which transparent pixels are laid. Empty: images with transparent pixels are refused."""
    value_range: tuple[Finite, Finite] | None = None
    """Stored values that are black and white in grey images of more than 8 bits. Empty: 0 and 65,535 for 16 bits (4,095
    for 12); floating point, signed and 32-bit pixels are refused."""
    exif_orientation: bool = True
    """Turn photos upright as viewers do. torchvision's `ImageFolder` does not."""
    max_pixels: Count = 100_000_000
    """Larger images, before or after resizing, count as unreadable: each pixel takes up to 4 bytes of memory."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> list[str]:
        found = []
        if self.crop is not None and "size" in self.model_fields_set and self.crop != self.size:
            found.append(f"`crop` {self.crop} and `size` {self.size} are two names of one number")
        if self.resize is not None and min(self._resize_sides) < self.side:
            found.append(
                f"`resize` {min(self._resize_sides)} is less than `size` {self.side}, which is cropped from it"
            )
        if not self.antialias and self.interpolation not in ("nearest", "bilinear", "bicubic"):
            found.append(f"`antialias: false` is not possible with `interpolation: {self.interpolation}`")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                found.append(f"`{name}` has {len(values)} numbers for {self.channels} channels")
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            found.append("`value_range` must be `[BLACK, WHITE]` with black below white")
        return found

    @property
    def side(self) -> int:
        """Height and width of the network's input."""
        return self.size if self.crop is None else self.crop

    @property
    def _resize_sides(self) -> tuple[int, ...]:
        return self.resize if isinstance(self.resize, tuple) else (self.resize or self.side,)

    @property
    def decode_rules(self) -> DecodeRules:
        """The part that concerns reading files."""
        return DecodeRules(
            channels=self.channels,
            background=self.background,
            value_range=self.value_range,
            apply_orientation=self.exif_orientation,
            max_pixels=self.max_pixels,
        )

    @property
    def crop_rules(self) -> CropRules:
        """The part that concerns resizing and cropping."""
        return CropRules(
            side=self.side,
            resize=self.resize,
            interpolation=self.interpolation,
            antialias=self.antialias,
            channels=self.channels,
            channel_order=self.channel_order,
            max_pixels=self.max_pixels,
        )

    @property
    def unit_mean(self) -> tuple[float, ...]:
        """`mean` of images scaled to [0, 1]."""
        if self.mean is not None:
            return tuple(value / self.value_scale for value in self.mean)
        return self._in_order(IMAGENET_MEAN if self.channels == 3 else (0.5,))

    @property
    def unit_std(self) -> tuple[float, ...]:
        """`std` of images scaled to [0, 1]."""
        if self.std is not None:
            return tuple(value / self.value_scale for value in self.std)
        return self._in_order(IMAGENET_STD if self.channels == 3 else (0.25,))

    def _in_order(self, values: tuple[float, ...]) -> tuple[float, ...]:
        return values[::-1] if self.channel_order == "bgr" else values

    def steps(self) -> tuple[tuple[str, str], ...]:
        """Every step in words, in order, for reports."""
        smoothed = "antialiased" if self.antialias else "not antialiased"
        return (
            ("orientation", "upright by EXIF" if self.exif_orientation else "as stored"),
            ("channels", f"{self.channels} ({self.channel_order.upper() if self.channels == 3 else 'grey'})"),
            ("resize", f"{self._resize_text()}, {self.interpolation}, {smoothed}"),
            ("crop", f"centre, {self.side} x {self.side}"),
            ("value scale", f"0 to {self.value_scale}"),
            ("mean", ", ".join(f"{value * self.value_scale:g}" for value in self.unit_mean)),
            ("std", ", ".join(f"{value * self.value_scale:g}" for value in self.unit_std)),
        )

    def _resize_text(self) -> str:
        if isinstance(self.resize, tuple):
            return f"stretched to {self.resize[0]} x {self.resize[1]} (height x width)"
        if self.resize is not None:
            return f"shorter side to {self.resize}"
        return f"none for {self.side} x {self.side}, else shorter side to {round(self.side * DEFAULT_RESIZE)} (default)"


def crops_of(photo: Image.Image, args: ImageArgs, *, count: int, seed: int, file_sha256: bytes) -> list[Pixels]:
    """`count` crops (size, size, channels) of one photo, in `channel_order`; equal for equal content and seed.

    The first is the centre of the resized photo; the others are random parts of it, mirrored half of the time.
    Raises Unreadable where resizing would take more than `max_pixels`.
    """
    rng = np.random.default_rng([seed, int.from_bytes(file_sha256[:8], "big")])
    rules = args.crop_rules
    return [centre_crop(photo, rules), *(_random(photo, rules, rng) for _ in range(count - 1))]


def _random(photo: Image.Image, rules: CropRules, rng: np.random.Generator) -> Pixels:
    area = photo.width * photo.height * rng.uniform(SMALLEST_SHARE, 1.0)
    aspect = math.exp(rng.uniform(-math.log(LARGEST_ASPECT), math.log(LARGEST_ASPECT)))
    width = min(photo.width, math.sqrt(area * aspect))
    height = min(photo.height, math.sqrt(area / aspect))
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    crop = resized_part(photo, (rules.side, rules.side), (left, top, left + width, top + height), rules)
    return channels_of(ImageOps.mirror(crop) if rng.random() < 0.5 else crop, rules)
