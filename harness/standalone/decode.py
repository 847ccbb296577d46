"""One image file to 8-bit pixels, as people see it; what has no one right reading is refused with the reason."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from .rules import DecodeRules

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""By content, whatever the suffix says."""
_PHONE_PHOTO = "MPO"
"""A JPEG with more pictures behind the photo, such as a depth map."""
UINT8_MAX = 255
BYTES_PER_PIXEL = 16
"""A file that holds more than this for each pixel that is allowed is not opened."""
_BITS_TAG, _PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 258, 262, 0
_PNG_BITS = 24
"""Offset of the bit depth in a PNG file: signature, length, `IHDR`, width and height come before it."""
_EIGHT_BITS = frozenset({"1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA", "La", "RGBa", "CMYK", "YCbCr", "HSV"})
_GREY = frozenset({"1", "L", "LA", "La"})
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}

Depth = Literal["8 bits", "12 bits", "16 bits", "32 bits", "float"]
Pixels = npt.NDArray[np.uint8]
Change = Literal[
    "grey, repeated for each channel",
    "colour, converted to grey (ITU-R 601)",
    "CMYK, converted to RGB without its colour profile",
    "with transparent pixels, laid on `background`",
    "reduced to 8 bits",
    "turned upright by its EXIF orientation",
]


class Unreadable(Exception):
    """Why a file gives no sample; the text completes `FILE: …`."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A photo before it is resized."""

    image: Image.Image
    """Mode `L` or `RGB`."""
    depth: Depth
    """As stored."""
    changes: tuple[Change, ...]
    content: bytes
    """sha256 of size and pixels: equal for equal photos, whatever the file's name and format."""
    file_sha256: bytes
    largest: float
    """Largest stored value."""

    @property
    def is_blank(self) -> bool:
        """Whether every pixel is the same."""
        colours = self.image.getcolors(1)
        return colours is not None


def decode_file(path: Path, rules: DecodeRules) -> Decoded:
    """Read one file; Unreadable when it cannot be, or should not be, an image of the data set."""
    try:
        size = path.stat().st_size
        if size > BYTES_PER_PIXEL * rules.max_pixels:
            raise Unreadable(f"{size:,} bytes are more than an image of `max_pixels` ({rules.max_pixels:,}) can have")
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from None
    if not content:
        raise Unreadable("empty file")
    return decode(content, rules)


def decode(content: bytes, rules: DecodeRules) -> Decoded:
    """The same from the bytes of a file."""
    try:
        with _own_pixel_limit(), Image.open(io.BytesIO(content), formats=FORMATS) as file:
            _check_size(file, rules)
            depth = _depth(file, content)
            file.load()
            return _converted(file, depth, rules, hashlib.sha256(content).digest())
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not a JPEG, PNG, WebP, BMP or TIFF image") from None
    except Exception as error:  # decoders raise many kinds on damaged files, SyntaxError and struct.error among them
        raise Unreadable(f"damaged ({' '.join(str(error).split()) or type(error).__name__})") from None


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Pillow's limit and warnings off: `max_pixels` is checked from the header, before anything is decoded."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(file: Image.Image, rules: DecodeRules) -> None:
    width, height = file.size
    if width * height > rules.max_pixels:
        raise Unreadable(f"{width:,} x {height:,} pixels are more than `max_pixels` ({rules.max_pixels:,})")
    frames = getattr(file, "n_frames", 1)
    if frames > 1 and file.format != _PHONE_PHOTO:
        raise Unreadable(f"{frames} frames or pages: which of them is the photo is not known")


def _depth(file: Image.Image, content: bytes) -> Depth:
    """As stored: Pillow reduces 16-bit colour to 8 bits by itself."""
    if file.mode == "F":
        return "float"
    bits = 8
    if file.format == "PNG" and len(content) > _PNG_BITS:
        bits = content[_PNG_BITS]
    elif file.format == "TIFF":
        stored = file.tag_v2.get(_BITS_TAG, (1,))  # type: ignore[attr-defined]
        bits = max(stored) if isinstance(stored, tuple) else int(stored)
    if bits <= 8:
        return "32 bits" if file.mode == "I" else "8 bits"
    return "12 bits" if bits <= 12 else "16 bits" if bits <= 16 else "32 bits"


def _converted(file: Image.Image, depth: Depth, rules: DecodeRules, file_sha256: bytes) -> Decoded:
    changes: list[Change] = []
    photo: Image.Image = file
    if rules.apply_orientation:
        photo = ImageOps.exif_transpose(file)
        if file.getexif().get(0x0112, 1) not in (0, 1):
            changes.append("turned upright by its EXIF orientation")
    photo, largest = _eight_bits(photo, depth, rules, changes, white_is_zero=_is_white_zero(file))
    photo = _opaque(photo, rules, changes)
    photo = _in_channels(photo, rules.channels, changes)
    digest = hashlib.sha256(f"{photo.mode} {photo.size}".encode())
    digest.update(photo.tobytes())
    return Decoded(photo, depth, tuple(changes), digest.digest(), file_sha256, largest)


def _is_white_zero(file: Image.Image) -> bool:
    return file.format == "TIFF" and file.tag_v2.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO  # type: ignore[attr-defined]


def _eight_bits(
    photo: Image.Image, depth: Depth, rules: DecodeRules, changes: list[Change], *, white_is_zero: bool
) -> tuple[Image.Image, float]:
    """The photo with 8 bits per channel, and its largest stored value."""
    if photo.mode in _EIGHT_BITS:
        if depth != "8 bits":  # Pillow kept the upper 8 of 16 bits
            _refuse_range(rules)
            changes.append("reduced to 8 bits")
        return photo, float(UINT8_MAX)
    if not (photo.mode in ("I", "F") or photo.mode.startswith("I;16")):
        raise Unreadable(f"pixels of kind `{photo.mode}` have no reading as RGB here")
    values = np.asarray(photo).astype(np.float64)
    largest = float(values.max())
    low, high = _range_of(photo.mode, depth, rules)
    if not np.isfinite(values).all():
        raise Unreadable("pixels are not finite (NaN or infinity)")
    if values.min() < low or largest > high:
        raise Unreadable(f"values from {values.min():g} to {largest:g} do not lie in {low:g} … {high:g}")
    share = (values - low) / (high - low)
    changes.append("reduced to 8 bits")
    grey = np.rint((1.0 - share if white_is_zero else share) * UINT8_MAX).astype(np.uint8)
    return Image.fromarray(grey), largest


def _refuse_range(rules: DecodeRules) -> None:
    if rules.value_range is not None:
        raise Unreadable("`value_range` does not work for colour images of 16 bits")


def _range_of(mode: str, depth: Depth, rules: DecodeRules) -> tuple[float, float]:
    """Black and white; known for unsigned integers only."""
    if rules.value_range is not None:
        return rules.value_range
    if mode.startswith("I;16"):
        return 0.0, 4095.0 if depth == "12 bits" else 65535.0
    what = "floating point" if mode == "F" else "signed or 32-bit integer"
    raise Unreadable(f"{what} pixels: which value is white is not known; set `value_range: [BLACK, WHITE]`")


def _opaque(photo: Image.Image, rules: DecodeRules, changes: list[Change]) -> Image.Image:
    """Without alpha; hidden pixels of transparent parts would be seen otherwise."""
    photo = photo.convert(_PREMULTIPLIED[photo.mode]) if photo.mode in _PREMULTIPLIED else photo
    if "transparency" not in photo.info and photo.mode not in ("LA", "PA", "RGBA"):
        return photo
    is_grey = photo.mode in _GREY
    with_alpha = photo.convert("RGBA")
    alpha = with_alpha.getchannel("A")
    if alpha.getextrema() != (UINT8_MAX, UINT8_MAX):
        if rules.background is None:
            raise Unreadable("transparent pixels; set `background: [R, G, B]` to lay them on a colour")
        ground = Image.new("RGBA", photo.size, (*rules.background, UINT8_MAX))
        with_alpha = Image.alpha_composite(ground, with_alpha)
        changes.append("with transparent pixels, laid on `background`")
        is_grey = is_grey and len(set(rules.background)) == 1
    return with_alpha.convert("RGB").getchannel("R") if is_grey else with_alpha.convert("RGB")


def _in_channels(photo: Image.Image, channels: int, changes: list[Change]) -> Image.Image:
    if photo.mode == "CMYK":
        changes.append("CMYK, converted to RGB without its colour profile")
    is_grey = photo.mode in _GREY
    if channels == 3:
        if is_grey:
            changes.append("grey, repeated for each channel")
        return photo.convert("RGB")
    if not is_grey:
        photo = photo.convert("RGB")
        changes.append("colour, converted to grey (ITU-R 601)")
    return photo.convert("L")
