"""Target `tensorrt`: NVIDIA TensorRT 10 or later, which builds on the GPU that the engine runs on."""

from __future__ import annotations

from typing import ClassVar

from harness.targets.tensorrt.binding import TENSORRT, Library
from harness.targets.tensorrt.target import TensorRtTarget


class TensorRt(TensorRtTarget):
    """TensorRT for data centre and edge GPUs."""

    name: ClassVar[str] = "tensorrt"
    library: ClassVar[Library] = TENSORRT


TARGET = TensorRt()
