"""Samples in memory, and the parts that a data set is split into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from harness.data.reading import Reading
from harness.data.tasks import Task, label_shape
from harness.errors import DataError
from harness.results import Dataset, NetworkInput, SharedSamples, Split

UINT8_MAX = 255.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Images and labels.

    Images stay as they were read, uint8 mostly, and are normalised batch by batch: that takes a quarter of the memory,
    and cropping or flipping them a quarter of the time.
    """

    images: torch.Tensor
    """(N, C, H, W), uint8 or float32."""
    labels: torch.Tensor | None
    """(N,) int64, (N, H, W) for `segmentation`, or None for data without labels."""
    mean: tuple[float, ...]
    """Per channel, of images scaled to [0, 1] (uint8) or as they are (float32)."""
    std: tuple[float, ...]
    task: Task = "classification"
    photos: tuple[bytes, ...] = ()
    """Per sample, a digest of the photo that it shows a part of; empty: each sample is a photo of its own."""

    def __post_init__(self) -> None:
        channels = self.images.shape[1] if self.images.ndim == 4 else None
        if channels is None or self.images.dtype not in (torch.uint8, torch.float32):
            shape, dtype = tuple(self.images.shape), self.images.dtype
            raise DataError(f"images are {shape} {dtype}", fix="provide (N, C, H, W) as uint8 or float32")
        if len(self.mean) != channels or len(self.std) != channels:
            raise DataError(f"images have {channels} channels, mean {len(self.mean)}, std {len(self.std)}")
        expected = (len(self), *label_shape(self.task, self.shape))
        if self.labels is not None and (self.labels.shape != expected or self.labels.dtype != torch.int64):
            shape, dtype = tuple(self.labels.shape), self.labels.dtype
            raise DataError(f"labels are {shape} {dtype}", fix=f"provide {expected} as int64")

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one sample: C, H, W."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, indices: torch.Tensor) -> Samples:
        """The samples at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        photos = tuple(self.photos[index] for index in indices.tolist()) if self.photos else ()
        return replace(self, images=self.images[indices], labels=labels, photos=photos)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Raw images as the network's float32 input: (x / 255 - mean) / std for uint8, (x - mean) / std for float32."""
        unit = UINT8_MAX if images.dtype == torch.uint8 else 1.0
        scale = torch.tensor([1.0 / (unit * std) for std in self.std]).view(-1, 1, 1)
        shift = torch.tensor([-mean / std for mean, std in zip(self.mean, self.std, strict=True)]).view(-1, 1, 1)
        return torch.addcmul(shift, images.to(torch.float32), scale)

    def inputs(self, indices: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """Normalised float32 images (n, C, H, W) at `indices`."""
        return self.normalise(self.images[indices])

    def batches(self, batch_size: int) -> Iterator[torch.Tensor]:
        """All samples in order as network inputs; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self.inputs(slice(start, start + batch_size))

    def required_labels(self) -> torch.Tensor:
        """The labels; DataError for data without."""
        if self.labels is None:
            raise DataError(
                "this data set has no labels: it cannot train a network or judge accuracy",
                fix="use another `dataset.source`, or set `weights: random` and leave out `qat`",
            )
        return self.labels

    def sha256(self) -> str:
        """Over images and labels in order."""
        digest = hashlib.sha256(f"{tuple(self.images.shape)} {self.images.dtype}".encode())
        digest.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def image_hashes(self) -> list[bytes]:
        """sha256 of each image alone, to find duplicates."""
        return [hashlib.sha256(image.numpy().tobytes()).digest() for image in self.images]

    def constant_images(self) -> int:
        """How many images have one and the same value in every pixel of each channel."""
        flat = self.images.flatten(2)
        return int((flat.amin(dim=2) == flat.amax(dim=2)).all(dim=1).sum()) if len(self) and flat.shape[2] else 0


@dataclass(frozen=True, eq=False)
class Splits:
    """The parts of one data set. No sample is in two of them."""

    train: Samples
    calibration: Samples
    test: Samples
    name: str
    source_description: str
    """How it was found, for instance `embedded`."""
    fingerprint: str
    """sha256 that changes whenever the data set's content does."""
    n_classes: int
    task: Task = "classification"
    reading: Reading = field(default_factory=Reading)
    """How the source read it."""
    test_files: tuple[Path | None, ...] = ()
    """Per test sample, as `Reading.test_files`."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one sample: C, H, W."""
        return self.test.shape

    @property
    def has_labels(self) -> bool:
        """Whether accuracy means anything."""
        return self.test.labels is not None

    def provenance(self) -> Dataset:
        """What reports print: source, count and sha256 of each part, how it was read, and what parts have in common."""
        parts: tuple[tuple[Literal["train", "calibration", "test"], Samples], ...] = (
            ("train", self.train),
            ("calibration", self.calibration),
            ("test", self.test),
        )
        splits = tuple(Split(name=name, n=len(samples), sha256=samples.sha256()) for name, samples in parts)
        return Dataset(
            name=self.name,
            source=self.source_description,
            splits=splits,
            class_names=self.reading.class_names,
            preprocessing=dict(self.reading.preprocessing),
            input=self._network_input(),
            files=self.reading.files,
            shared=self.shared(),
            notes=self.reading.notes,
        )

    def _network_input(self) -> NetworkInput:
        test, reading = self.test, self.reading
        return NetworkInput(
            shape=test.shape,
            dtype="uint8" if test.images.dtype == torch.uint8 else "float32",
            mean=test.mean,
            std=test.std,
            decode=reading.decode,
            crop=reading.crop,
        )

    def shared(self) -> tuple[SharedSamples, ...]:
        """Equal images in each pair of parts."""
        return (
            SharedSamples(part="train", other="test", n=shared_images(self.train, self.test)),
            SharedSamples(part="calibration", other="test", n=shared_images(self.calibration, self.test)),
            SharedSamples(part="train", other="calibration", n=shared_images(self.train, self.calibration)),
        )


def shared_images(a: Samples, b: Samples) -> int:
    """How many samples of `a` have an equal in `b`: a part of the same photo, or the same pixels.

    Files may differ in name and format; photos are compared before they are resized, pixels after it.
    """
    photos, pixels = set(b.photos), set(b.image_hashes())
    own_photos = a.photos or [b""] * len(a)
    return sum(photo in photos or image in pixels for photo, image in zip(own_photos, a.image_hashes(), strict=True))
