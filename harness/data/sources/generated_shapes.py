"""Generated images of discs and squares with a class for every pixel: a small segmentation data set."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge
from pydantic import BaseModel, ConfigDict

from harness.data.base import Arrays, GeneratedSource, Labels, Located, generated_steps, source_args
from harness.data.reading import Reading
from harness.data.settings import DatasetSpec
from harness.data.tasks import Task
from harness.fields import Share

DEFAULT_TRAIN_SAMPLES, DEFAULT_TEST_SAMPLES = 2_000, 500
CLASS_NAMES = ("background", "disc", "square")
N_CLASSES = len(CLASS_NAMES)
SHAPES_PER_IMAGE = 3
MEAN, STD = 0.5, 0.25


class GeneratedShapesArgs(BaseModel):
    """Arguments of this source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Ge(16)] = 32
    """Height and width in pixels."""
    noise: Share = 0.15
    """Standard deviation of what is added to every pixel; 1 is the distance from black to white."""


class GeneratedShapes(GeneratedSource):
    """Grey shapes of random size and place on a grey background, later ones over earlier ones, with noise."""

    name = "generated_shapes"
    version = 1
    args_type = GeneratedShapesArgs
    task: ClassVar[Task] = "segmentation"

    def read(self, located: Located, spec: DatasetSpec, seed: int) -> Arrays:
        """Images (N, 1, size, size) uint8 and labels (N, size, size); equal for equal `seed`, arguments and counts."""
        args = source_args(spec, GeneratedShapesArgs)
        rng = np.random.default_rng(seed)
        n_train = (spec.train_samples or DEFAULT_TRAIN_SAMPLES) + spec.calibration_samples
        train = [_image(rng, args) for _ in range(n_train)]
        test = [_image(rng, args) for _ in range(spec.test_samples or DEFAULT_TEST_SAMPLES)]
        (train_images, train_labels), (test_images, test_labels) = _stacked(train), _stacked(test)
        steps = generated_steps(MEAN, STD)
        reading = Reading(class_names=CLASS_NAMES, preprocessing=steps)
        return Arrays(train_images, train_labels, test_images, test_labels, N_CLASSES, (MEAN,), (STD,), reading)


Sample = tuple[npt.NDArray[np.uint8], Labels]


def _image(rng: np.random.Generator, args: GeneratedShapesArgs) -> Sample:
    """Pixels (size, size) and their classes."""
    rows, columns = np.mgrid[: args.size, : args.size]
    grey = np.full((args.size, args.size), rng.uniform(0.2, 0.8))
    labels = np.zeros((args.size, args.size), np.int64)
    for _ in range(SHAPES_PER_IMAGE):
        label = int(rng.integers(1, N_CLASSES))
        radius = rng.uniform(0.1, 0.22) * args.size
        row, column = rng.uniform(radius, args.size - radius, 2)
        down, right = rows - row, columns - column
        # A square of the same area: its half side is sqrt(pi) / 2 of the radius.
        inside = np.hypot(down, right) < radius if label == 1 else np.maximum(abs(down), abs(right)) < 0.886 * radius
        grey[inside], labels[inside] = rng.uniform(0, 1), label
    noisy = grey + args.noise * rng.standard_normal(grey.shape)
    return np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8), labels


def _stacked(samples: list[Sample]) -> tuple[npt.NDArray[np.uint8], Labels]:
    images, labels = zip(*samples, strict=True)
    return np.stack(images)[:, None], np.stack(labels)


SOURCE = GeneratedShapes()
