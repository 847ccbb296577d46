"""Folders of images: parts disjoint by file, crops that repeat, classes from folder names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.located import locate
from PIL import Image

from harness.data.collect_photos import chosen
from harness.data.load import load_splits
from harness.data.preprocessing import ImageArgs, crops_of
from harness.data.samples import Splits
from harness.data.settings import DatasetSpec
from harness.errors import DataError
from harness.standalone.decode import decode_file
from harness.standalone.rules import DecodeRules

SIZE = 8


def write_photo(path: Path, value: int, size: tuple[int, int] = (40, 24)) -> None:
    """One colour; PNG, so that pixels survive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def write_gradient(path: Path, width: int = 64, height: int = 32) -> None:
    """Each column has its own grey: column x is 2 x."""
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None] * 2, (height, width, 3))
    Image.fromarray(np.ascontiguousarray(columns)).save(path)


def crops(path: Path, *, size: int, resize: int, count: int, seed: int) -> list[np.ndarray]:
    decoded = decode_file(path, DecodeRules())
    args = ImageArgs(size=size, resize=resize)
    return crops_of(decoded.image, args, count=count, seed=seed, file_sha256=decoded.file_sha256)


def splits(folder: Path, seed: int = 0, calibration: int = 4, **args) -> Splits:
    spec = DatasetSpec(
        source="image_folder", location="path", path=folder, calibration_samples=calibration, args={"size": SIZE} | args
    )
    return load_splits(spec, root=folder, seed=seed)


def greys(images: torch.Tensor) -> set[int]:
    return {int(image.flatten()[0]) for image in images}


class TestParts:
    @pytest.mark.parametrize("seed", range(3))
    def test_no_photo_gives_crops_to_both_calibration_and_test(self, tmp_path: Path, seed: int) -> None:
        for value in range(10):
            write_photo(tmp_path / f"{value}.png", value * 20)
        found = splits(tmp_path, seed, calibration=12, crops_per_photo=3, test_share=0.4)
        assert len(found.test) == 12  # 4 of 10 files, 3 crops of each
        training = greys(found.calibration.images) | greys(found.train.images)
        assert len(training) == 6
        assert not training & greys(found.test.images)

    def test_train_and_val_folders_are_the_parts(self, tmp_path: Path) -> None:
        for value in range(4):
            write_photo(tmp_path / "train" / f"{value}.png", value)
        write_photo(tmp_path / "val" / "a.png", 200)
        found = splits(tmp_path)
        assert greys(found.calibration.images) == {0, 1, 2, 3}
        assert greys(found.test.images) == {200}

    def test_one_photo_cannot_be_both_parts(self, tmp_path: Path) -> None:
        write_photo(tmp_path / "a.png", 1)
        with pytest.raises(DataError, match="has 1 image files"):
            splits(tmp_path)


class TestClasses:
    def test_without_class_folders_there_are_no_labels(self, tmp_path: Path) -> None:
        for value in range(8):
            write_photo(tmp_path / f"{value}.png", value)
        found = splits(tmp_path)
        assert not found.has_labels
        assert found.n_classes == 1000

    def test_folder_names_in_their_order(self, tmp_path: Path) -> None:
        for value, name in enumerate(["dog", "cat"] * 4):
            write_photo(tmp_path / name / f"{value}.png", 10 if name == "cat" else 20)
        found = splits(tmp_path)
        assert found.n_classes == 2
        expected = [0 if int(image.flatten()[0]) == 10 else 1 for image in found.test.images]
        assert found.test.required_labels().tolist() == expected

    def test_numbers_are_the_classes_themselves(self, tmp_path: Path) -> None:
        for value in range(8):
            write_photo(tmp_path / "243" / f"{value}.png", value)
        found = splits(tmp_path, crops_per_photo=2)
        assert found.n_classes == 1000
        assert found.test.required_labels().tolist() == [243] * 8  # 4 files, 2 crops of each

    def test_a_number_beyond_the_network_is_refused(self, tmp_path: Path) -> None:
        for value in range(8):
            write_photo(tmp_path / "10" / f"{value}.png", value)
        with pytest.raises(DataError, match="class folder `10`, but `n_classes` is 10"):
            splits(tmp_path, n_classes=10)


class TestCrops:
    def test_the_first_is_the_centre_of_the_resized_photo(self, tmp_path: Path) -> None:
        write_gradient(tmp_path / "a.png")
        (crop,) = crops(tmp_path / "a.png", size=16, resize=32, count=1, seed=0)
        # 64 x 32 stays as it is; columns 24 … 39 are the middle 16 of 64.
        assert crop.shape == (16, 16, 3)
        assert crop[0, :, 0].tolist() == [2 * column for column in range(24, 40)]

    def test_crops_differ_from_each_other_but_not_from_run_to_run(self, tmp_path: Path) -> None:
        write_gradient(tmp_path / "a.png")
        first, again, other = (crops(tmp_path / "a.png", size=16, resize=32, count=3, seed=seed) for seed in (0, 0, 1))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[1], first[2])
        assert not np.array_equal(first[1], other[1])

    def test_a_file_that_is_no_image_is_named(self, tmp_path: Path) -> None:
        write_photo(tmp_path / "a.png", 1)
        (tmp_path / "broken.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"`broken\.png`: not a JPEG, PNG, WebP, BMP or TIFF image"):
            splits(tmp_path)


class TestLocation:
    def test_the_fingerprint_follows_content_and_arguments(self, tmp_path: Path) -> None:
        write_photo(tmp_path / "a.png", 1)

        def fingerprint(**args) -> str:
            spec = DatasetSpec(source="image_folder", location="path", path=tmp_path, args=args)
            return locate(spec, tmp_path).fingerprint

        before, larger = fingerprint(), fingerprint(size=32)
        write_photo(tmp_path / "a.png", 2)
        assert len({before, larger, fingerprint()}) == 3

    def test_a_folder_below_harness_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_photo(tmp_path / "photos" / "a.png", 1)
        monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
        spec = DatasetSpec(source="image_folder", args={"folder": "photos"})
        assert locate(spec, tmp_path).place == tmp_path / "photos"

    def test_missing_photos_are_an_error_that_says_where_to_put_them(self, bare_machine: Path) -> None:
        with pytest.raises(DataError) as error:
            locate(DatasetSpec(source="image_folder", args={"folder": "photos"}), bare_machine)
        assert "$HARNESS_DATA/photos" in str(error.value.fix)


def test_gathering_takes_photos_only(tmp_path: Path) -> None:
    for name in ("abstract/Silk.png", "desktop/MATE-Stripes-Dark.png", "nature/Garden.jpg"):
        write_photo(tmp_path / "mate" / name, 1)
    for name in ("imagenet_00_243.jpg", "cifar10_00_3.png"):
        write_photo(tmp_path / "foolbox" / "data" / name, 1)
    assert [file.name for file in chosen(tmp_path)] == ["imagenet_00_243.jpg", "Garden.jpg"]
