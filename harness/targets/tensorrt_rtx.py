"""Target `tensorrt-rtx`: NVIDIA TensorRT for RTX GPUs, which builds without a GPU."""

from __future__ import annotations

from typing import ClassVar

from harness.targets.tensorrt.binding import TENSORRT_RTX, Library
from harness.targets.tensorrt.options import TensorRtRtxSettings
from harness.targets.tensorrt.target import TensorRtTarget


class TensorRtRtx(TensorRtTarget):
    """TensorRT-RTX: engines are finished on the GPU that they run on."""

    name: ClassVar[str] = "tensorrt-rtx"
    library: ClassVar[Library] = TENSORRT_RTX
    scenario_options: ClassVar[type[TensorRtRtxSettings]] = TensorRtRtxSettings


TARGET = TensorRtRtx()
