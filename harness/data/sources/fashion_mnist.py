"""Fashion-MNIST: 28x28 grey images of 10 kinds of clothing, 60,000 to train and 10,000 to test.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv:1708.07747. Copyright 2017 Zalando SE, MIT licence. All test images and a class-balanced 5,000 of
the training images are embedded in this package, so that nothing else need be installed.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from pathlib import Path

import numpy as np

from harness.data.base import Arrays, DataSource, Images, Labels, Located, NoArgs, source_args
from harness.data.download import download
from harness.data.idx import decode_idx, gunzipped, payload_sha256, read_payload
from harness.data.places import Places, find_data
from harness.data.reading import Reading
from harness.data.settings import DatasetSpec
from harness.data.subset import read_subset
from harness.errors import DataError

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
N_CLASSES = len(CLASS_NAMES)
MEAN, STD = 0.2860, 0.3530
"""Mean and standard deviation of all pixels of the 60,000 training images, scaled to [0, 1]."""

PAYLOAD_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Checksums of the decompressed files, as distributions compress them differently."""

UPSTREAM = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
EMBEDDED_FILE = Path(__file__).parents[1] / "embedded" / "fashion_mnist_5000_10000.npz"
EMBEDDED_SHA256 = "114fd357496ea0c2cf365d1cbbefa40eec410fb5a3374f9124ac979616a7fca3"
"""Checksum of the arrays, see `harness.data.subset.arrays_sha256`."""

PLACES = Places(
    folder="fashion-mnist",
    install="`apt-get install dataset-fashion-mnist`, or run again with `--download` (pytest: `--harness-download`)",
    system=(Path("/usr/share/datasets/fashion-mnist"),),
    embedded=EMBEDDED_FILE,
)


class FashionMnist(DataSource):
    """The full set where it is installed or downloaded, else all test images and 5,000 training images."""

    name = "fashion_mnist"

    def locate(self, spec: DatasetSpec, root: Path, *, download: bool) -> Located:
        """Find the four IDX files (with or without `.gz`) or the embedded subset.

        Raises DataError when there is neither, or when a file's content is not the original's.
        """
        source_args(spec, NoArgs)
        found = find_data(spec, root, PLACES, _holds, fetch_into if download else None)
        if found.location == "embedded":
            return Located(found.description, EMBEDDED_SHA256, found.path)
        return Located(found.description, _verified_fingerprint(found.path), found.path)

    def read(self, located: Located, spec: DatasetSpec, seed: int) -> Arrays:
        """All images of the place, (N, 1, 28, 28) uint8."""
        assert located.place is not None
        read = _read_embedded if located.place == EMBEDDED_FILE else read_part
        train_images, train_labels = read(located.place, "train")
        test_images, test_labels = read(located.place, "t10k")
        reading = Reading(
            class_names=CLASS_NAMES,
            preprocessing=(
                ("channels", "1 (grey)"),
                ("resize", "none: 28 x 28 as published"),
                ("value scale", "0 to 1"),
                ("mean", f"{MEAN:g}"),
                ("std", f"{STD:g}"),
            ),
            is_published=True,
        )
        return Arrays(train_images, train_labels, test_images, test_labels, N_CLASSES, (MEAN,), (STD,), reading)


SOURCE = FashionMnist()


def read_part(folder: Path, part: str) -> tuple[Images, Labels]:
    """Images (N, 1, 28, 28) uint8 and labels (N,) of `train` or `t10k` in a folder of IDX files."""
    images = decode_idx(read_payload(_file(folder, f"{part}-images-idx3-ubyte")))
    labels = decode_idx(read_payload(_file(folder, f"{part}-labels-idx1-ubyte")))
    return images[:, np.newaxis], labels.astype(np.int64)


def fetch_into(folder: Path, upstream: str = UPSTREAM) -> None:
    """Download what `folder` does not hold yet (30 MB in all)."""
    for name in PAYLOAD_SHA256:
        destination = folder / f"{name}.gz"
        if not destination.is_file():
            download(f"{upstream}/{name}.gz", destination, functools.partial(_problem, name))


def _read_embedded(file: Path, part: str) -> tuple[Images, Labels]:
    arrays = read_subset(file, EMBEDDED_SHA256)
    prefix = "train" if part == "train" else "test"
    return arrays[f"{prefix}_images"][:, np.newaxis], arrays[f"{prefix}_labels"].astype(np.int64)


def _holds(place: Path) -> bool:
    """Any of the files is enough: a place that is meant to be the data but incomplete is an error, not skipped."""
    if place == EMBEDDED_FILE:
        return place.is_file()
    return any((place / (name + suffix)).is_file() for name in PAYLOAD_SHA256 for suffix in ("", ".gz"))


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataError(f"{folder} has no {name}.gz", fix=f"complete it: {PLACES.install}")


def _verified_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, expected in PAYLOAD_SHA256.items():
        file = _file(folder, name)
        actual = payload_sha256(file)
        if actual != expected:
            raise DataError(
                f"{file} is not the original: sha256 of its content is {actual}, expected {expected}",
                fix=f"remove it and get it again: {PLACES.install}",
            )
        digest.update(bytes.fromhex(actual))
    return digest.hexdigest()


def _problem(name: str, content: bytes) -> str | None:
    try:
        actual = hashlib.sha256(gunzipped(content)).hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        return f"its content cannot be decompressed ({error})"
    expected = PAYLOAD_SHA256[name]
    return None if actual == expected else f"the sha256 of its content is {actual}, expected {expected}"
