"""Read a data set and split it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from harness.data.base import Arrays, Images, Labels
from harness.data.partition import Indices, partition, subset
from harness.data.samples import Samples, Splits
from harness.data.settings import DatasetSpec
from harness.data.sources import data_source
from harness.data.tasks import Task


def load_splits(spec: DatasetSpec, *, root: Path, seed: int, download: bool = False) -> Splits:
    """The train, calibration and test samples of `spec`; relative paths start at `root`.

    Calibration is drawn from the training part and taken out of it; test is the source's own test part. Draws are
    seeded and class-balanced. Raises DataError when the data is missing, damaged or too small.
    """
    source = data_source(spec.source)
    located = source.locate(spec, root, download=download)
    arrays = source.read(located, spec, seed)
    rng = np.random.default_rng(seed)
    train, calibration = partition(
        arrays.train_labels,
        len(arrays.train_images),
        calibration_samples=spec.calibration_samples,
        train_samples=spec.train_samples,
        rng=rng,
    )
    n_test = len(arrays.test_images)
    test = subset(arrays.test_labels, n_test, samples=spec.test_samples, what="test_samples", rng=rng)
    reading = arrays.reading
    train_part = (arrays.train_images, arrays.train_labels, reading.train_photos)
    test_part = (arrays.test_images, arrays.test_labels, reading.test_photos)
    return Splits(
        train=_samples(arrays, train_part, train, source.task),
        calibration=_samples(arrays, train_part, calibration, source.task),
        test=_samples(arrays, test_part, test, source.task),
        name=spec.source,
        source_description=located.description,
        fingerprint=located.fingerprint,
        n_classes=arrays.n_classes,
        task=source.task,
        reading=reading,
        test_files=tuple(reading.test_files[index] for index in test.tolist()) if reading.test_files else (),
    )


Part = tuple[Images, Labels | None, tuple[bytes, ...]]
"""Images, labels and digests of photos."""


def _samples(arrays: Arrays, part: Part, indices: Indices, task: Task) -> Samples:
    images, labels, photos = part
    return Samples(
        images=torch.from_numpy(images[indices]),
        labels=None if labels is None else torch.from_numpy(labels[indices]),
        mean=arrays.mean,
        std=arrays.std,
        task=task,
        photos=tuple(photos[index] for index in indices.tolist()) if photos else (),
    )
