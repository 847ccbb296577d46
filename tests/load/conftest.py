"""Sessions and samples whose every answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.data.samples import Samples
from harness.load.library import SampleLibrary
from harness.targets.base import Session

N_CLASSES = 7


class KnownSession(Session):
    """The class of a sample is its first pixel modulo 7; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        return np.eye(N_CLASSES, dtype=np.float32)[batch[:, 0, 0, 0].astype(int) % N_CLASSES]

    def time_runs(self, batch: np.ndarray, runs: int) -> list[float]:
        return [0.1] * runs


@pytest.fixture
def session() -> KnownSession:
    return KnownSession()


@pytest.fixture
def library() -> SampleLibrary:
    """50 samples; every pixel of sample i is i."""
    images = torch.arange(50, dtype=torch.float32).reshape(50, 1, 1, 1).expand(50, 1, 2, 2).contiguous()
    return SampleLibrary(Samples(images, None, mean=(0.0,), std=(1.0,)))
