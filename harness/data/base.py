"""The contract of a data source."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.data.reading import Reading
from harness.data.settings import DatasetSpec
from harness.data.tasks import Task
from harness.errors import DataError, unknown_name

Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
ArgsT = TypeVar("ArgsT", bound=BaseModel)


@dataclass(frozen=True)
class Located:
    """Where a data set was found, and a fingerprint that changes whenever its content does."""

    description: str
    """For people, for instance `embedded` or `system: /usr/share/datasets/fashion-mnist`."""
    fingerprint: str
    """sha256 in hexadecimal."""
    place: Path | None = None
    """File or folder; None for generated data."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """A data set as the source provides it, before it is split.

    Images are (N, C, H, W), uint8 or float32; labels are (N,), or (N, H, W) for the task
    `segmentation`, or None for data without labels.
    """

    train_images: Images
    train_labels: Labels | None
    test_images: Images
    test_labels: Labels | None
    n_classes: int
    mean: tuple[float, ...]
    """Per channel, of images scaled to [0, 1] (uint8) or as they are (float32)."""
    std: tuple[float, ...]
    reading: Reading = field(default_factory=Reading)


class NoArgs(BaseModel):
    """Arguments of a source that takes none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSource(ABC):
    """One data set. A source is one file in `harness/data/sources` that defines `SOURCE`, or a plug-in."""

    name: ClassVar[str]
    """As scenarios write it in `dataset.source`."""
    task: ClassVar[Task] = "classification"
    has_labels: ClassVar[bool] = True
    """Without labels nothing can be trained and accuracy is not reported."""
    args_type: ClassVar[type[BaseModel]] = NoArgs
    """What scenarios may write in `dataset.args`; the reference page is made from it."""

    @abstractmethod
    def locate(self, spec: DatasetSpec, root: Path, *, download: bool) -> Located:
        """Find the data, without decoding it where possible; DataError with the fix when it is not there."""

    @abstractmethod
    def read(self, located: Located, spec: DatasetSpec, seed: int) -> Arrays:
        """Read what `locate` found; only generated data depends on `seed`. DataError when it is damaged."""


def source_args(spec: DatasetSpec, kind: type[ArgsT]) -> ArgsT:
    """`spec.args` as the source's own typed arguments; DataError names the one that does not fit."""
    try:
        return kind.model_validate(spec.args)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            message, fix = unknown_name(f"argument of data source `{spec.source}`", name, kind.model_fields)
            raise DataError(message, fix=fix if kind.model_fields else "remove it: this source takes none") from None
        raise DataError(
            f"data source `{spec.source}`: argument `{name}`: {problem['msg'].lower()}", fix="correct `dataset.args`"
        ) from None


class GeneratedSource(DataSource):
    """A source that makes its images: there is nothing to find and nothing to download."""

    version: ClassVar[int]
    """Goes up whenever the same arguments would give other images."""

    def locate(self, spec: DatasetSpec, root: Path, *, download: bool) -> Located:
        """Nothing to find; the fingerprint is of the arguments and counts."""
        if spec.location != "auto":
            raise DataError(
                f"data source `{self.name}` generates its images: there is no `location: {spec.location}`",
                fix="use `location: auto`",
            )
        args = source_args(spec, self.args_type)
        counts = (spec.train_samples, spec.calibration_samples, spec.test_samples)
        fingerprint = hashlib.sha256(f"{self.version} {args!r} {counts}".encode()).hexdigest()
        return Located("generated", fingerprint)


def generated_steps(mean: float, std: float) -> tuple[tuple[str, str], ...]:
    """How images that were generated are preprocessed, as `Reading` holds it."""
    return (("resize", "none: generated"), ("value scale", "0 to 1"), ("mean", f"{mean:g}"), ("std", f"{std:g}"))
