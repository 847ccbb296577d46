"""Random images without labels, of any shape: for scenarios that measure latency only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from harness.data.base import Arrays, GeneratedSource, Located, generated_steps, source_args
from harness.data.reading import Reading
from harness.data.settings import DatasetSpec
from harness.fields import Count

DEFAULT_TEST_SAMPLES = 64
MEAN, STD = 0.5, 0.25


class RandomImagesArgs(BaseModel):
    """Arguments of this source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_shape: tuple[Count, Count, Count]
    """Channels, height, width."""
    n_classes: Count = 1000
    """Classes of the network; the images have none."""


class RandomImages(GeneratedSource):
    """Pixels with a normal distribution; exactly as many images as the scenario asks for.

    Without `train_samples` the training part holds none beyond calibration.
    """

    name = "random_images"
    version = 1
    args_type = RandomImagesArgs
    has_labels = False

    def read(self, located: Located, spec: DatasetSpec, seed: int) -> Arrays:
        """Images (N, *input_shape) uint8; equal for equal `seed`, arguments and counts."""
        args = source_args(spec, RandomImagesArgs)
        rng = np.random.default_rng(seed)
        train = _images(rng, (spec.train_samples or 0) + spec.calibration_samples, args.input_shape)
        test = _images(rng, spec.test_samples or DEFAULT_TEST_SAMPLES, args.input_shape)
        channels = args.input_shape[0]
        steps = generated_steps(MEAN, STD)
        mean, std = (MEAN,) * channels, (STD,) * channels
        return Arrays(train, None, test, None, args.n_classes, mean, std, Reading(preprocessing=steps))


def _images(rng: np.random.Generator, n: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Clipped to what uint8 holds, which is two standard deviations to either side."""
    normal = rng.standard_normal((n, *shape), dtype=np.float32)
    pixels: npt.NDArray[np.uint8] = np.clip(np.rint((normal * STD + MEAN) * 255), 0, 255).astype(np.uint8)
    return pixels


SOURCE = RandomImages()
