"""A stand-in for `pynvml`: the functions that the harness calls, with the names and units of NVML."""

# ruff: noqa: N802

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class NVMLError(Exception):
    pass


class FakeNvml(ModuleType):
    NVMLError = NVMLError

    def __init__(self, gpus: int = 1) -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.asked: list[Any] = []
        self.processes = [SimpleNamespace(pid=1, usedGpuMemory=7), SimpleNamespace(pid=os.getpid(), usedGpuMemory=300)]
        self.used = 1000
        self.millijoules = [0.0]
        self.counts_energy = True

    def nvmlInit(self) -> None:
        if not self.gpus:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index >= self.gpus:
            raise NVMLError("Invalid Argument")
        self.asked.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        self.asked.append(name)
        return name

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[SimpleNamespace]:
        return self.processes

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> SimpleNamespace:
        return SimpleNamespace(used=self.used)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> float:
        if not self.counts_energy:
            raise NVMLError("Not Supported")
        return self.millijoules.pop(0) if len(self.millijoules) > 1 else self.millijoules[0]


def install(monkeypatch: pytest.MonkeyPatch, gpus: int = 1) -> FakeNvml:
    """Put the double in the place of the package."""
    fake = FakeNvml(gpus)
    fake.__spec__ = SimpleNamespace(name="pynvml")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake
