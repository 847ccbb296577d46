"""Every kind of image file: scaled rightly, with the arithmetic, or refused with the reason."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from oracles.photos import encoded, photo, pixels
from PIL import Image

from harness.standalone.decode import Decoded, Unreadable, decode
from harness.standalone.rules import DecodeRules

GREY = np.array([[0, 51, 255]], np.uint8)


def read(content: bytes, **rules: object) -> Decoded:
    return decode(content, DecodeRules(**rules))


def values(decoded: Decoded) -> list[int]:
    """The first channel, row by row."""
    array = np.asarray(decoded.image)
    return (array if array.ndim == 2 else array[:, :, 0]).ravel().tolist()


def png(bits: int, colour: int, rows: list[bytes], width: int) -> bytes:
    """A PNG file by hand, for kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


class TestDepths:
    @pytest.mark.parametrize("order", ["<u2", ">u2"])
    @pytest.mark.parametrize("format_", ["PNG", "TIFF"])
    def test_16_bits_become_8_by_their_share_of_the_range(self, format_: str, order: str) -> None:
        # 65535 / 257 = 255; 13107 / 257 = 51; 128 / 257 rounds to 0 and 129 / 257 to 1.
        stored = np.array([[0, 128, 129, 13107, 65535]], order)
        decoded = read(encoded(Image.fromarray(stored), format_))
        assert values(decoded) == [0, 0, 1, 51, 255]
        assert decoded.depth == "16 bits"

    def test_16_bit_colour_becomes_8_bits(self) -> None:
        row = struct.pack(">6H", 0, 0x3333, 0xFFFF, 0xFFFF, 0x8080, 0)
        decoded = read(png(16, 2, [row], width=2))
        assert np.asarray(decoded.image).tolist() == [[[0, 0x33, 0xFF], [0xFF, 0x80, 0]]]
        assert decoded.depth == "16 bits"

    def test_16_bit_values_in_a_range_of_their_own(self) -> None:
        stored = np.array([[0, 819, 4095]], np.uint16)  # 12 bits in 16: 819 / 4095 = 0.2
        assert values(read(encoded(Image.fromarray(stored), "PNG"), value_range=(0, 4095))) == [0, 51, 255]

    def test_a_value_outside_the_range_is_refused_rather_than_clipped(self) -> None:
        stored = np.array([[0, 4096]], np.uint16)
        with pytest.raises(Unreadable, match="values from 0 to 4096 do not lie in 0 … 4095"):
            read(encoded(Image.fromarray(stored), "PNG"), value_range=(0, 4095))

    def test_white_is_zero_is_turned_round_at_every_depth(self) -> None:
        deep = np.array([[0, 52428, 65535]], np.uint16)  # 1 - 52428 / 65535 = 0.2
        assert values(read(encoded(Image.fromarray(deep), "TIFF", tiffinfo={262: 0}))) == [255, 51, 0]

    @pytest.mark.parametrize("kind", [np.float32, np.int32])
    def test_floating_point_and_32_bits_need_a_range(self, kind: type) -> None:
        content = encoded(Image.fromarray(np.array([[0, 1, 5]], kind)), "TIFF")
        with pytest.raises(Unreadable, match="set `value_range"):
            read(content)
        assert values(read(content, value_range=(0, 5))) == [0, 51, 255]

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_floating_point_that_is_no_number_is_refused(self, bad: float) -> None:
        content = encoded(Image.fromarray(np.array([[0, bad]], np.float32)), "TIFF")
        with pytest.raises(Unreadable, match="not finite"):
            read(content, value_range=(0, 1))

    def test_one_bit_is_black_and_white(self) -> None:
        image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
        for format_ in ("PNG", "TIFF", "BMP"):
            assert values(read(encoded(image, format_))) == [0, 255]

    @pytest.mark.parametrize(("bits", "row", "expected"), [(2, 0b00011011, [0, 85, 170, 255]), (4, 0x0F, [0, 255])])
    def test_2_and_4_bits_fill_the_range(self, bits: int, row: int, expected: list[int]) -> None:
        assert values(read(png(bits, 0, [bytes([row])], width=len(expected)))) == expected


class TestColours:
    def test_a_palette_is_looked_up(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([10, 20, 30, 200, 100, 50])
        assert np.asarray(read(encoded(image, "PNG")).image).tolist() == [[[10, 20, 30], [200, 100, 50]]]

    def test_grey_is_repeated_and_colour_becomes_grey_only_where_asked(self) -> None:
        decoded = read(encoded(Image.fromarray(GREY), "PNG"))
        assert np.asarray(decoded.image).tolist() == [[[0] * 3, [51] * 3, [255] * 3]]
        assert decoded.changes == ("grey, repeated for each channel",)
        red = read(encoded(Image.new("RGB", (1, 1), (255, 0, 0)), "PNG"), channels=1)
        assert values(red) == [76]  # 0.299 * 255 = 76.2
        assert red.changes == ("colour, converted to grey (ITU-R 601)",)

    @pytest.mark.parametrize("format_", ["TIFF", "JPEG"])
    def test_cmyk_is_converted_and_said_so(self, format_: str) -> None:
        # No ink is white; full cyan leaves no red: (255 - C) * (255 - K) / 255.
        for ink, rgb in (((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))):
            decoded = read(encoded(Image.new("CMYK", (8, 8), ink), format_))
            assert np.abs(np.asarray(decoded.image)[4, 4].astype(int) - rgb).max() <= 3
            assert "CMYK, converted to RGB without its colour profile" in decoded.changes

    def test_lab_is_refused(self) -> None:
        with pytest.raises(Unreadable, match="`LAB`"):
            read(encoded(Image.new("LAB", (2, 2)), "TIFF"))


class TestTransparency:
    def make(self, mode: str) -> bytes:
        image = Image.new("RGBA", (2, 1), (200, 200, 200, 255))
        image.putpixel((1, 0), (200, 200, 200, 0))
        return encoded(image.convert(mode) if mode != "P" else image.quantize(4), "PNG")

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent_pixels_need_a_background(self, mode: str) -> None:
        with pytest.raises(Unreadable, match="set `background"):
            read(self.make(mode))
        assert values(read(self.make(mode), background=(255, 0, 0))) == [200, 255]

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_opaque_images_lose_their_alpha(self, mode: str) -> None:
        image = Image.new("L", (2, 2), 51).convert(mode)
        assert values(read(encoded(image, "PNG"))) == [51] * 4

    def test_a_transparent_colour_counts_too(self) -> None:
        with pytest.raises(Unreadable, match="set `background"):
            read(encoded(Image.fromarray(GREY), "PNG", transparency=51))

    def test_grey_on_a_coloured_background_is_colour(self) -> None:
        decoded = read(self.make("LA"), background=(255, 0, 0))
        assert np.asarray(decoded.image)[0].tolist() == [[200, 200, 200], [255, 0, 0]]


class TestFiles:
    @pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
    def test_animations_and_pages_are_refused(self, format_: str) -> None:
        content = encoded(photo(0), format_, save_all=True, append_images=[photo(1), photo(2)])
        with pytest.raises(Unreadable, match="3 frames or pages"):
            read(content)

    def test_a_phones_jpeg_with_a_picture_behind_is_its_first_one(self) -> None:
        decoded = read(encoded(photo(0), "MPO", save_all=True, append_images=[photo(1)], quality=100, subsampling=0))
        assert np.abs(np.asarray(decoded.image).astype(int) - pixels(0)).mean() < 4

    def test_photos_are_turned_upright(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the top of the scene is at the right: turn by 90 degrees clockwise
        content = encoded(photo(0, (3, 2)), "PNG", exif=exif)
        assert np.array_equal(np.asarray(read(content).image), np.rot90(pixels(0, (3, 2)), -1))
        assert np.array_equal(np.asarray(read(content, apply_orientation=False).image), pixels(0, (3, 2)))

    def test_a_gif_by_another_name_is_refused(self) -> None:
        with pytest.raises(Unreadable, match="not a JPEG, PNG, WebP, BMP or TIFF image"):
            read(encoded(photo(0), "GIF"))

    @pytest.mark.parametrize("format_", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_half_a_file_is_damaged(self, format_: str, share: float) -> None:
        content = encoded(photo(0, (64, 64)), format_)
        with pytest.raises(Unreadable):
            read(content[: int(len(content) * share)])

    def test_a_photo_of_gigabytes_is_refused_before_it_is_decoded(self) -> None:
        bomb = png(8, 2, [b""], width=100_000)[:16] + struct.pack(">II", 100_000, 100_000)
        bomb += png(8, 2, [b""], width=1)[24:]
        bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
        with pytest.raises(Unreadable, match=r"100,000 x 100,000 pixels are more than `max_pixels` \(100,000,000\)"):
            read(bomb)

    def test_the_limit_can_be_set(self) -> None:
        content = encoded(photo(0, (10, 10)), "PNG")
        with pytest.raises(Unreadable, match="max_pixels"):
            read(content, max_pixels=99)
        assert read(content, max_pixels=100).image.size == (10, 10)

    def test_equal_photos_have_equal_digests_whatever_the_format(self) -> None:
        contents = {read(encoded(photo(0), format_)).content for format_ in ("PNG", "BMP", "TIFF")}
        assert len(contents) == 1
        assert read(encoded(photo(1), "PNG")).content not in contents

    @pytest.mark.parametrize("seed", range(40))
    def test_flipped_bits_are_read_or_refused_and_nothing_else(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        format_ = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")[seed % 5]
        content = bytearray(encoded(photo(0, (32, 32)), format_))
        for place in rng.integers(0, len(content), 3):
            content[place] ^= 1 << int(rng.integers(8))
        refusal = ""
        try:
            mode = read(bytes(content)).image.mode
        except Unreadable as error:
            mode, refusal = "", str(error)
        assert mode == "RGB" or refusal
