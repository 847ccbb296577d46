"""A folder of image files, with or without labels: photos as they come, cropped to the network's input size.

Subfolders `train/` and `test/` (or `val/`), if both are there, are the two parts; otherwise files are drawn for them.
Parts are disjoint by file, so that no two crops of one photo are in calibration and test. Folders inside a part are the
classes, as in torchvision's `ImageFolder`; names that are all numbers are the class numbers themselves.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, ConfigDict

from harness.data.base import Arrays, DataSource, Labels, Located, source_args
from harness.data.crops import crops_of
from harness.data.places import Places, find
from harness.data.spec import DatasetSpec
from harness.errors import DataError

VERSION = 1
"""Goes up whenever the same files and arguments would give other images."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PARTS = (("train", "test"), ("train", "val"))
Channels = tuple[float, float, float]
Positive = Annotated[int, Ge(1)]


class ImageFolderArgs(BaseModel):
    """Arguments of this source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = "images"
    """Its name below `$HARNESS_DATA` and below the user's cache, where no `path` is given."""
    size: Positive = 224
    """Height and width of the network's input."""
    resize: Positive | None = None
    """Length of the shorter side before the centre is cropped; None: `size` * 8 / 7, 256 for 224."""
    crops_per_photo: Positive = 1
    """The first is the centre crop; the others are random parts of the photo, mirrored half of the time."""
    test_share: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Share of the files that become the test part, where the folder has no `train/` and `test/`."""
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    n_classes: Positive = 1000
    """Of the network, for images without labels or with numbered classes."""


class ImageFolder(DataSource):
    """RGB images (3, size, size); unlabelled images are judged by agreement with FP32."""

    name = "image_folder"

    def locate(self, spec: DatasetSpec, root: Path, *, download: bool) -> Located:
        """Find the folder; the fingerprint is of every image file, the arguments and the decoder's version."""
        args = source_args(spec, ImageFolderArgs)
        install = f"put image files into `$HARNESS_DATA/{args.folder}`, or name their folder in `dataset.path`"
        found = find(spec, root, Places(folder=args.folder, install=install), lambda place: bool(image_files(place)))
        digest = hashlib.sha256(f"{VERSION} {args!r} {importlib.metadata.version('pillow')}".encode())
        for file in image_files(found.path):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(found.path).as_posix()} {content}\n".encode())
        return Located(found.description, digest.hexdigest(), found.path)

    def read(self, located: Located, spec: DatasetSpec, seed: int) -> Arrays:
        """Crops (N, 3, size, size) uint8; files go to the parts by `seed`."""
        assert located.place is not None
        args = source_args(spec, ImageFolderArgs)
        train, test = parts(located.place, args.test_share, seed)
        classes, n_classes = class_numbers((*train, *test), args.n_classes)
        train_images, train_labels = _read(train, classes, args, seed)
        test_images, test_labels = _read(test, classes, args, seed)
        return Arrays(train_images, train_labels, test_images, test_labels, n_classes, args.mean, args.std)


File = tuple[Path, str | None]
"""An image file and the name of its class."""


def image_files(folder: Path) -> list[Path]:
    """Image files at any depth, in the order of their paths."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def parts(folder: Path, test_share: float, seed: int) -> tuple[list[File], list[File]]:
    """The files of the training and of the test part; DataError when one would be empty."""
    for train, test in _PARTS:
        if (folder / train).is_dir() and (folder / test).is_dir():
            return _classified(folder / train), _classified(folder / test)
    files = _classified(folder)
    n_test = round(len(files) * test_share)
    if n_test in (0, len(files)):
        raise DataError(
            f"{folder} has {len(files)} image files, of which {n_test} would be test images",
            fix="add images, or change `test_share`",
        )
    order = np.random.default_rng(seed).permutation(len(files))
    shares = (order[n_test:], order[:n_test])
    train_files, test_files = ([files[index] for index in sorted(share)] for share in shares)
    return train_files, test_files


def _classified(folder: Path) -> list[File]:
    files = [file.relative_to(folder) for file in image_files(folder)]
    if not files:
        raise DataError(f"{folder} has no image files", fix="known suffixes: " + " ".join(sorted(SUFFIXES)))
    labelled = all(len(file.parts) == 2 for file in files)
    return [(folder / file, file.parts[0] if labelled else None) for file in files]


def class_numbers(files: tuple[File, ...], n_classes: int) -> tuple[dict[str, int] | None, int]:
    """The number of each class and how many the network has; None without labels.

    Raises DataError when only one part is labelled, or when a numbered class is outside the network's.
    """
    names = {name for _, name in files}
    if None in names:
        if len(names) > 1:
            raise DataError("one part has class folders and the other has not", fix="label both or neither")
        return None, n_classes
    known = sorted(str(name) for name in names)
    if not all(name.isdecimal() for name in known):
        return {name: number for number, name in enumerate(known)}, len(known)
    largest = max(map(int, known))
    if largest >= n_classes:
        raise DataError(f"class folder `{largest}`, but `n_classes` is {n_classes}", fix="raise `n_classes`")
    return {name: int(name) for name in known}, n_classes


def _read(
    files: list[File], classes: dict[str, int] | None, args: ImageFolderArgs, seed: int
) -> tuple[npt.NDArray[np.uint8], Labels | None]:
    resize = args.resize or round(args.size * 8 / 7)
    crops: list[npt.NDArray[Any]] = []
    for path, _ in files:
        crops += crops_of(path, size=args.size, resize=resize, count=args.crops_per_photo, seed=seed)
    images = np.stack(crops).transpose(0, 3, 1, 2)
    if classes is None:
        return np.ascontiguousarray(images), None
    labels = np.repeat([classes[str(name)] for _, name in files], args.crops_per_photo).astype(np.int64)
    return np.ascontiguousarray(images), labels


SOURCE = ImageFolder()
