"""Image files to arrays of one size: the centre as published networks expect it, and random parts beside it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from harness.errors import DataError

SMALLEST_SHARE = 0.35
"""Of the photo's area that a random crop shows; aspect ratio is at most 4:3 either way."""
LARGEST_ASPECT = 4 / 3
Pixels = npt.NDArray[np.uint8]


def crops_of(path: Path, *, size: int, resize: int, count: int, seed: int) -> list[Pixels]:
    """`count` RGB crops (size, size, 3) of one file; equal for equal content and seed.

    The first is the centre after the shorter side was resized to `resize` (bilinear, as torchvision's weights were
    evaluated); the others are random parts. Raises DataError for a file that cannot be decoded.
    """
    try:
        content = path.read_bytes()
        with Image.open(path) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}", fix="repair or remove it") from None
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(content).digest()[:8], "big")])
    return [_centre(photo, size, resize), *(_random(photo, size, rng) for _ in range(count - 1))]


def _centre(photo: Image.Image, size: int, resize: int) -> Pixels:
    scale = resize / min(photo.size)
    width, height = (max(resize, round(side * scale)) for side in photo.size)
    resized = photo.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)), np.uint8)


def _random(photo: Image.Image, size: int, rng: np.random.Generator) -> Pixels:
    area = photo.width * photo.height * rng.uniform(SMALLEST_SHARE, 1.0)
    aspect = math.exp(rng.uniform(-math.log(LARGEST_ASPECT), math.log(LARGEST_ASPECT)))
    width = min(photo.width, math.sqrt(area * aspect))
    height = min(photo.height, math.sqrt(area / aspect))
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    box = (left, top, left + width, top + height)
    crop = photo.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(ImageOps.mirror(crop) if rng.random() < 0.5 else crop, np.uint8)
