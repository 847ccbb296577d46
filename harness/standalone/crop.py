"""From a decoded photo to the crop that the network sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from .decode import Pixels, Unreadable
from .rules import CropRules

DEFAULT_RESIZE = 8 / 7
"""Shorter side after resizing as a multiple of `side`, where `resize` is not given: 256 for 224."""
Fitting = Literal["as it is", "resized", "enlarged"]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def fitting(size: tuple[int, int], rules: CropRules) -> Fitting:
    """What happens to a photo of this (width, height); Unreadable when it would be enlarged without `resize`."""
    target = resized_size(size, rules)
    if target == size:
        return "as it is"
    is_enlarged = target[0] > size[0] or target[1] > size[1]
    if is_enlarged and rules.resize is None:
        raise Unreadable(
            f"{size[0]} x {size[1]} pixels would be enlarged for `size: {rules.side}`; write `resize` to have that"
        )
    return "enlarged" if is_enlarged else "resized"


def resized_size(size: tuple[int, int], rules: CropRules) -> tuple[int, int]:
    """(width, height) after resizing, before the crop."""
    if isinstance(rules.resize, tuple):
        return rules.resize[1], rules.resize[0]
    if rules.resize is None and size == (rules.side, rules.side):
        return size
    shorter = rules.resize or round(rules.side * DEFAULT_RESIZE)
    scale = shorter / min(size)
    return max(shorter, round(size[0] * scale)), max(shorter, round(size[1] * scale))


def centre_crop(photo: Image.Image, rules: CropRules) -> Pixels:
    """The centre (side, side, channels) of the resized photo, in `channel_order`.

    Raises Unreadable where resizing would take more than `max_pixels`.
    """
    target = resized_size(photo.size, rules)
    if target[0] * target[1] > rules.max_pixels:
        raise Unreadable(f"{target[0]:,} x {target[1]:,} pixels after resizing are more than `max_pixels`")
    resized = photo if target == photo.size else resized_part(photo, target, (0.0, 0.0, *photo.size), rules)
    left, top = (target[0] - rules.side) // 2, (target[1] - rules.side) // 2
    return channels_of(resized.crop((left, top, left + rules.side, top + rules.side)), rules)


def resized_part(photo: Image.Image, target: tuple[int, int], box: Box, rules: CropRules) -> Image.Image:
    """The part `box` (left, top, right, bottom) of the photo in a new size."""
    filter_ = Image.Resampling[rules.interpolation.upper()]
    if rules.antialias or rules.interpolation == "nearest":
        return photo.resize(target, filter_, box=box)
    left, top, right, bottom = box
    across, down = (right - left) / target[0], (bottom - top) / target[1]
    return photo.transform(target, Image.Transform.AFFINE, (across, 0.0, left, 0.0, down, top), filter_)


def channels_of(crop: Image.Image, rules: CropRules) -> Pixels:
    """Pixels (side, side, channels) in `channel_order`."""
    pixels = np.asarray(crop, np.uint8).reshape(rules.side, rules.side, rules.channels)
    return np.ascontiguousarray(pixels[:, :, ::-1]) if rules.channel_order == "bgr" else pixels
