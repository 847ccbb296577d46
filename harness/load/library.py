"""The query sample library: real test samples, made ready before LoadGen starts its clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt

    from harness.data.samples import Samples


class SampleLibrary:
    """Test samples as network inputs, those that LoadGen has asked for."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._inputs = np.empty((0, *samples.shape), np.float32)
        self._positions: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, indices: Sequence[int]) -> None:
        """Normalise the samples at `indices`; LoadGen may name one twice."""
        kept = sorted(set(indices))
        self._inputs = np.ascontiguousarray(self._samples.inputs(torch.tensor(kept)).numpy())
        self._positions = {index: position for position, index in enumerate(kept)}

    def unload(self, indices: Sequence[int]) -> None:
        """Free what was loaded."""
        self._inputs = self._inputs[:0]
        self._positions.clear()

    def batch(self, indices: Sequence[int]) -> npt.NDArray[np.float32]:
        """Inputs (n, C, H, W); a single one is not copied."""
        positions = [self._positions[index] for index in indices]
        if len(positions) == 1:
            return self._inputs[positions[0] : positions[0] + 1]
        batch: npt.NDArray[np.float32] = self._inputs[positions]
        return batch
