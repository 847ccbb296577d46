"""Image files for tests, each different from the others by its number."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(number: int, size: tuple[int, int] = (12, 12)) -> np.ndarray:
    """Random RGB pixels (height, width, 3) of a (width, height), equal for equal numbers."""
    return np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def photo(number: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    """The same as an image."""
    return Image.fromarray(pixels(number, size))


def write(path: Path, number: int, size: tuple[int, int] = (12, 12)) -> Path:
    """One file, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(number, size).save(path)
    return path


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def labelled(folder: Path, names: tuple[str, ...] = ("cat", "dog"), per_class: int = 3, start: int = 0) -> Path:
    """Class folders with images."""
    for index, name in enumerate(names):
        for number in range(per_class):
            write(folder / name / f"{number}.png", start + 100 * index + number)
    return folder


def in_parts(folder: Path, train: str = "train", test: str = "test", **options: object) -> Path:
    """Class folders in two parts that share no image."""
    labelled(folder / train, start=0, **options)  # type: ignore[arg-type]
    labelled(folder / test, start=5000, **options)  # type: ignore[arg-type]
    return folder
