"""NVIDIA's management library through `nvidia-ml-py`: memory of this process and energy of the GPU."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from harness.errors import HarnessError

PACKAGE: Final = "pynvml"
INSTALL: Final = "pip install nvidia-ml-py"
_MILLI: Final = 1e-3


class NvmlUnavailable(HarnessError):
    """NVML cannot be asked, and why."""


class DeviceMemory(NamedTuple):
    """Memory of the GPU."""

    bytes: int
    is_of_process: bool
    """False where the driver reports only the use of all processes together, as in many containers."""


class NvmlGpu:
    """The first GPU that this process may use. NvmlUnavailable where there is none."""

    def __init__(self) -> None:
        if importlib.util.find_spec(PACKAGE) is None:
            raise NvmlUnavailable("the package `nvidia-ml-py` is not installed", fix=INSTALL)
        self.nvml: Any = importlib.import_module(PACKAGE)
        try:
            self.nvml.nvmlInit()
            self.handle = self._device()
        except self.nvml.NVMLError as error:
            raise NvmlUnavailable(f"NVML finds no usable GPU: {error}", fix="install NVIDIA's driver") from error

    def memory(self) -> DeviceMemory:
        """Memory that this process has taken, or all processes where the driver does not say whose it is."""
        running = self._ask(self.nvml.nvmlDeviceGetComputeRunningProcesses)
        own = [process.usedGpuMemory for process in running or () if process.pid == os.getpid()]
        if own and own[0] is not None:
            return DeviceMemory(int(own[0]), is_of_process=True)
        return DeviceMemory(int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used), is_of_process=False)

    def joules(self) -> float:
        """Energy since the driver was loaded; NvmlUnavailable for GPUs that do not count it (before Volta)."""
        try:
            return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) * _MILLI
        except self.nvml.NVMLError as error:
            raise NvmlUnavailable(f"this GPU does not count its energy: {error}") from error

    def _device(self) -> Any:
        """By its identifier where the environment names one; NVML ignores CUDA_VISIBLE_DEVICES."""
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        if named.startswith(("GPU-", "MIG-")):
            return self.nvml.nvmlDeviceGetHandleByUUID(named)
        return self.nvml.nvmlDeviceGetHandleByIndex(int(named) if named.isdigit() else 0)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self.handle)
        except self.nvml.NVMLError:
            return None
