"""What makes results on a data set doubtful is said, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles.photos import in_parts, write
from PIL import Image

from harness.data.doubts import doubts
from harness.data.load import load_splits
from harness.data.samples import Samples, Splits
from harness.data.settings import DatasetSpec


def splits(folder: Path, **args: object) -> Splits:
    spec = DatasetSpec(
        source="image_folder", location="path", path=folder, calibration_samples=1, args={"size": 12} | args
    )
    return load_splits(spec, root=folder, seed=0)


def embedded() -> Splits:
    spec = DatasetSpec(source="fashion_mnist", location="embedded")
    return load_splits(spec, root=Path(), seed=0)


def test_orderly_data_gives_no_warning(tmp_path: Path) -> None:
    assert doubts(splits(in_parts(tmp_path))) == ()
    assert doubts(embedded()) == ()


def test_one_photo_in_training_and_test_is_told(tmp_path: Path) -> None:
    write(in_parts(tmp_path) / "train" / "cat" / "other name.bmp", 5000)
    (warning,) = doubts(splits(tmp_path))
    assert "1 of " in warning
    assert "are test images too" in warning


def test_equal_images_of_a_published_set_are_counted_and_become_a_warning_when_many() -> None:
    known = embedded()
    leaking = replace(known, train=known.test.take(torch.arange(100)))  # 100 of 10,000 test images: 1 %
    assert next(shared.n for shared in leaking.shared()) == 100
    assert doubts(leaking) == ()
    more = replace(known, train=known.test.take(torch.arange(101)))
    assert "101 of 101 training images are test images too" in doubts(more)[0]


@pytest.mark.parametrize(("part", "name"), [("train", "training"), ("test", "test")])
def test_blank_images_are_counted(tmp_path: Path, part: str, name: str) -> None:
    in_parts(tmp_path)
    Image.new("RGB", (12, 12), (1, 2, 3)).save(tmp_path / part / "cat" / "zz.png")
    found = splits(tmp_path)
    text = " ".join(doubts(found))
    assert f"{name} images are blank: every pixel has the same value" in text or "calibration images are blank" in text


def test_the_same_image_again_and_again() -> None:
    images = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).repeat(4, 1, 1, 1)
    samples = Samples(images=images, labels=torch.tensor([0, 1, 0, 1]), mean=(0.5,), std=(0.5,))
    known = replace(embedded(), test=samples)
    assert "all 4 test images are the same image" in doubts(known)


def test_one_class_alone() -> None:
    known = embedded()
    of_class = (known.test.required_labels() == 3).nonzero().flatten()
    assert "all 1,000 test images are of one class" in doubts(replace(known, test=known.test.take(of_class)))


def test_12_bits_in_16_are_told(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    for number in range(6):
        values = torch.randint(0, 4096, (12, 12), generator=rng).numpy().astype("uint16")
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    (warning,) = doubts(splits(tmp_path))
    assert "nearly black" in warning
    assert doubts(splits(tmp_path, value_range=[0, 4095])) == ()
