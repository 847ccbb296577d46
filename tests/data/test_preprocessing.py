"""From photo to input: what each argument does, with other libraries and arithmetic as oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles.photos import photo, pixels
from PIL import Image
from pydantic import ValidationError

from harness.data.preprocessing import ImageArgs, crops_of
from harness.standalone.crop import fitting, resized_size
from harness.standalone.decode import Unreadable


def centre(of: tuple[int, int], /, **args: object) -> np.ndarray:
    return crops_of(photo(0, of), ImageArgs(**args), count=1, seed=0, file_sha256=bytes(32))[0]


def torch_resized(size: tuple[int, int], target: tuple[int, int], mode: str, *, antialias: bool) -> np.ndarray:
    images = torch.from_numpy(pixels(0, size)).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(images, target[::-1], mode=mode, antialias=antialias)
    return resized[0].permute(1, 2, 0).clamp(0, 255).numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_resizing_is_that_of_torch(interpolation: str, antialias: bool) -> None:
    found = centre((60, 60), size=20, resize=20, interpolation=interpolation, antialias=antialias)
    expected = torch_resized((60, 60), (20, 20), interpolation, antialias=antialias)
    assert np.abs(found - expected)[2:-2, 2:-2].max() <= 1.01  # Pillow rounds, borders differ


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_filter_is_pillows(interpolation: str) -> None:
    resized = photo(0, (40, 30)).resize((27, 20), Image.Resampling[interpolation.upper()])
    expected = np.asarray(resized.crop((3, 0, 23, 20)))  # (27 - 20) // 2 = 3
    assert np.array_equal(centre((40, 30), size=20, resize=20, interpolation=interpolation), expected)


def test_images_of_exactly_the_size_are_untouched() -> None:
    assert np.array_equal(centre((16, 16), size=16), pixels(0, (16, 16)))
    assert fitting((16, 16), ImageArgs(size=16).crop_rules) == "as it is"


def test_size_alone_resizes_larger_images_and_refuses_smaller_ones() -> None:
    args = ImageArgs(size=14)  # 14 * 8 / 7 = 16
    assert resized_size((32, 48), args.crop_rules) == (16, 24)
    assert fitting((32, 48), args.crop_rules) == "resized"
    with pytest.raises(Unreadable, match="15 x 40 pixels would be enlarged for `size: 14`; write `resize`"):
        fitting((15, 40), args.crop_rules)
    assert fitting((8, 8), ImageArgs(size=14, resize=14).crop_rules) == "enlarged"


def test_two_numbers_stretch() -> None:
    assert resized_size((100, 30), ImageArgs(size=20, resize=(20, 24)).crop_rules) == (24, 20)
    assert centre((100, 30), size=20, resize=(20, 24)).shape == (20, 20, 3)


def test_bgr_turns_the_channels_round_and_imagenets_mean_with_them() -> None:
    rgb, bgr = ImageArgs(size=16), ImageArgs(size=16, channel_order="bgr")
    assert np.array_equal(centre((16, 16), size=16, channel_order="bgr"), pixels(0, (16, 16))[:, :, ::-1])
    assert bgr.unit_mean == rgb.unit_mean[::-1]
    given = ImageArgs(channel_order="bgr", mean=(1, 2, 3), std=(1, 1, 1), value_scale=255)
    assert given.unit_mean == (1 / 255, 2 / 255, 3 / 255)  # already in the order of the network


def test_grey_has_one_channel() -> None:
    args = ImageArgs(size=8, channels=1)
    crop = crops_of(photo(0, (8, 8)).convert("L"), args, count=1, seed=0, file_sha256=bytes(32))[0]
    assert crop.shape == (8, 8, 1)
    assert (args.unit_mean, args.unit_std) == ((0.5,), (0.25,))


def test_every_step_is_said() -> None:
    args = ImageArgs(
        crop=224, resize=256, interpolation="bicubic", value_scale=255, mean=(104, 117, 123), std=(1, 1, 1)
    )
    assert dict(args.steps()) == {
        "orientation": "upright by EXIF",
        "channels": "3 (RGB)",
        "resize": "shorter side to 256, bicubic, antialiased",
        "crop": "centre, 224 x 224",
        "value scale": "0 to 255",
        "mean": "104, 117, 123",
        "std": "1, 1, 1",
    }


def test_an_elongated_photo_that_would_become_huge_is_refused() -> None:
    with pytest.raises(Unreadable, match="after resizing"):
        crops_of(Image.new("RGB", (5000, 1)), ImageArgs(size=224, resize=256), count=1, seed=0, file_sha256=bytes(32))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"size": 32, "crop": 28}, "two names of one number"),
        ({"size": 32, "resize": 31}, "`resize` 31 is less than `size` 32"),
        ({"size": 32, "resize": (40, 31)}, "`resize` 31 is less than `size` 32"),
        ({"antialias": False, "interpolation": "lanczos"}, "is not possible with `interpolation: lanczos`"),
        ({"mean": (0.5,)}, "`mean` has 1 numbers for 3 channels"),
        ({"channels": 1, "std": (1, 1, 1)}, "`std` has 3 numbers for 1 channels"),
        ({"value_range": (1, 1)}, "black below white"),
        ({"std": (0.1, 0, 0.1)}, "greater than 0"),
        ({"mean": (float("nan"), 0, 0)}, "finite number"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(args: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageArgs(**args)
