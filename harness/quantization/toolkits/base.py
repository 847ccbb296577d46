"""The contract of a toolkit that quantizes ONNX files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.results import Variant
from harness.targets.base import Availability

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class OnnxPtq:
    """What a toolkit is asked for."""

    calibrator: str
    percentile: float | None
    per_channel: bool
    weight_bits: int
    skip: tuple[str, ...]
    """Names of ONNX nodes, which are dotted module names."""


class OnnxToolkit(ABC):
    """Post-training quantization of an FP32 ONNX file."""

    name: ClassVar[str]

    @abstractmethod
    def availability(self) -> Availability:
        """Whether the toolkit is installed. Imports nothing heavy."""

    @abstractmethod
    def refusal(self, variant: Variant) -> str | None:
        """Why the toolkit cannot quantize the variant, or None."""

    @abstractmethod
    def quantize(
        self, source: Path, destination: Path, batches: Iterator[npt.NDArray[np.float32]], ptq: OnnxPtq
    ) -> None:
        """Write the Q/DQ file. `batches` are calibration samples (N, C, H, W), each seen once."""
