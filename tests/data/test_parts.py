"""Which folders are parts and classes: by every usual name, and refused wherever names leave it open."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from oracles.photos import in_parts, labelled, write

from harness.data.load import load_splits
from harness.data.samples import Splits
from harness.data.settings import DatasetSpec
from harness.errors import DataError


def splits(folder: Path, calibration: int = 2, **args: object) -> Splits:
    spec = DatasetSpec(
        source="image_folder", location="path", path=folder, calibration_samples=calibration, args={"size": 12} | args
    )
    return load_splits(spec, root=folder, seed=0)


class TestNames:
    @pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training"])
    @pytest.mark.parametrize("test", ["val", "Valid", "VALIDATION", "test", "Testing"])
    def test_parts_by_every_usual_name(self, tmp_path: Path, train: str, test: str) -> None:
        found = splits(in_parts(tmp_path, train, test))
        assert (len(found.train) + len(found.calibration), len(found.test)) == (6, 6)
        assert found.reading.class_names == ("cat", "dog")

    def test_of_validation_and_test_the_test_part_is_used_and_that_is_said(self, tmp_path: Path) -> None:
        in_parts(tmp_path)
        labelled(tmp_path / "val", start=9000)
        found = splits(tmp_path)
        assert len(found.test) == 6
        assert found.reading.notes == ("6 images in `val` are not used: the test part is `test`",)
        assert found.reading.files is not None
        assert (found.reading.files.read, found.reading.files.unused) == (12, 6)

    @pytest.mark.parametrize(
        ("folders", "message"),
        [
            (("train", "Training", "test"), "all training parts: they are not pooled"),
            (("train", "val", "valid"), "all validation parts"),
            (("train", "test", "TEST"), "all test parts"),
            (("train",), "there is `train`, but no test part"),
            (("val", "test"), "there is `val`, `test`, but no training part"),
            (("train", "test", "extra"), "images lie in `extra`, beside the parts `train` and `test`"),
            (("inner/train", "inner/test"), "look like parts, but lie too deep"),
            (("fold1", "fold2"), "are they parts or classes"),
        ],
    )
    def test_what_could_be_pooled_or_mistaken_is_refused(
        self, tmp_path: Path, folders: tuple[str, ...], message: str
    ) -> None:
        for number, name in enumerate(folders):
            labelled(tmp_path / name, start=1000 * number)
        with pytest.raises(DataError, match=message) as caught:
            splits(tmp_path)
        assert caught.value.fix

    def test_the_scenario_can_name_the_parts(self, tmp_path: Path) -> None:
        in_parts(tmp_path, "fold1", "fold2")
        found = splits(tmp_path, train_part="fold1", test_part="fold2")
        assert len(found.test) == 6
        with pytest.raises(DataError, match="no folder `fold3`"):
            splits(tmp_path, train_part="fold1", test_part="fold3")
        with pytest.raises(DataError, match="must name two folders"):
            splits(tmp_path, train_part="fold1")

    def test_a_class_named_train_is_possible_where_it_is_said(self, tmp_path: Path) -> None:
        labelled(tmp_path, ("car", "train", "plane"))
        assert splits(tmp_path, parts="random").reading.class_names == ("car", "plane", "train")


class TestClasses:
    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_class_in_one_part_alone_is_named(self, tmp_path: Path, part: str) -> None:
        in_parts(tmp_path)
        write(tmp_path / part / "bird" / "a.png", 77)
        with pytest.raises(DataError, match=f"class `bird` has images in `{part}`, but none in"):
            splits(tmp_path)

    def test_an_empty_class_folder_is_no_class(self, tmp_path: Path) -> None:
        in_parts(tmp_path)
        (tmp_path / "train" / "bird").mkdir()
        assert splits(tmp_path).reading.notes == ("no image in folder `train/bird`",)

    def test_drawn_parts_both_have_every_class(self, tmp_path: Path) -> None:
        labelled(tmp_path, ("a", "b", "c"), per_class=2)
        found = splits(tmp_path)
        assert sorted(found.test.required_labels().tolist()) == [0, 1, 2]

    def test_a_class_with_one_image_cannot_be_in_both(self, tmp_path: Path) -> None:
        labelled(tmp_path)
        write(tmp_path / "bird" / "a.png", 77)
        with pytest.raises(DataError, match="class `bird` has 1 image"):
            splits(tmp_path)

    def test_case_makes_two_classes(self, tmp_path: Path) -> None:
        found = splits(in_parts(tmp_path, names=("Cat", "cat")))
        assert found.n_classes == 2
        assert found.reading.class_names == ("Cat", "cat")
        assert "they are two classes" in found.reading.notes[0]

    @pytest.mark.parametrize(
        "names",
        [("a", "a "), ("a b", "a  b"), (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"))],
        ids=["space at the end", "two spaces", "composed and decomposed"],
    )
    def test_names_that_look_the_same_are_refused(self, tmp_path: Path, names: tuple[str, str]) -> None:
        with pytest.raises(DataError, match="look the same in print"):
            splits(in_parts(tmp_path, names=names))

    def test_two_spellings_of_one_number_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="`01` and `1` are the same number"):
            splits(in_parts(tmp_path, names=("1", "01")))

    def test_numbers_keep_their_folder_names(self, tmp_path: Path) -> None:
        found = splits(in_parts(tmp_path, names=("001", "003")), n_classes=5)
        assert found.reading.class_names == ("0", "001", "2", "003", "4")
        assert set(found.test.required_labels().tolist()) == {1, 3}

    def test_digits_of_other_scripts_are_names(self, tmp_path: Path) -> None:
        assert splits(in_parts(tmp_path, names=("\u0661", "1"))).n_classes == 2

    def test_the_order_of_another_networks_classes(self, tmp_path: Path) -> None:
        in_parts(tmp_path)
        found = splits(tmp_path, classes=["fish", "dog", "cat"])
        assert (found.n_classes, set(found.test.required_labels().tolist())) == (3, {1, 2})
        with pytest.raises(DataError, match="class folder `cat` is not in `classes`") as caught:
            splits(tmp_path, classes=["cats", "dog"])
        assert caught.value.fix == "did you mean `cats`?"

    def test_images_beside_class_folders_are_refused_rather_than_unlabelled(self, tmp_path: Path) -> None:
        in_parts(tmp_path)
        write(tmp_path / "train" / "stray.png", 1)
        with pytest.raises(DataError, match=r"1 images of `train` lie beside class folders: `train/stray\.png`"):
            splits(tmp_path)

    def test_folders_below_a_class_belong_to_it(self, tmp_path: Path) -> None:
        for part, start in (("train", 0), ("val", 50)):
            for number, name in enumerate(("n01", "n02") * 3):
                write(tmp_path / part / name / "images" / f"{number}.png", start + number)
        assert splits(tmp_path).reading.class_names == ("n01", "n02")

    def test_one_class_alone_means_nothing(self, tmp_path: Path) -> None:
        labelled(tmp_path, ("holiday",))
        with pytest.raises(DataError, match="all images are in one class folder, `holiday`"):
            splits(tmp_path)
        assert not splits(tmp_path, labels="none", calibration=1).has_labels


class TestContent:
    def test_equal_photos_are_drawn_into_one_part(self, tmp_path: Path) -> None:
        for number in range(8):
            write(tmp_path / f"{number}.png", number)
            write(tmp_path / f"copy of {number}.bmp", number)
        found = splits(tmp_path)
        assert [shared.n for shared in found.shared() if shared.other == "test"] == [0, 0]
        assert "8 images repeat another one pixel by pixel" in found.reading.notes[-1]

    def test_the_same_photo_under_another_name_and_format_is_found_in_both_parts(self, tmp_path: Path) -> None:
        in_parts(tmp_path)
        write(tmp_path / "train" / "cat" / "other.bmp", 5000)  # is test/cat/0.png
        found = splits(tmp_path, calibration=1, crops_per_photo=3)
        assert sum(shared.n for shared in found.shared() if shared.other == "test") == 3  # its three crops

    def test_a_photo_in_two_classes_is_a_warning(self, tmp_path: Path) -> None:
        in_parts(tmp_path)
        write(tmp_path / "train" / "dog" / "other.png", 0)  # is train/cat/0.png
        assert "the same photo is in two classes" in splits(tmp_path).reading.warnings[0]
