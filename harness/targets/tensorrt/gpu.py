"""The NVIDIA GPU of this machine, asked of the driver: no CUDA package is needed to find that there is none."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_NAME_LENGTH = 256


@dataclass(frozen=True)
class TensorRtGpu:
    """The first CUDA device."""

    name: str
    compute_capability: str
    """For instance `SM86`."""


@functools.cache
def find_gpu() -> TensorRtGpu | None:
    """The first CUDA device; None without driver or device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    driver.cuDeviceGetName(name, _NAME_LENGTH, device)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    return TensorRtGpu(name.value.decode(errors="replace"), "SM{}{}".format(*numbers))
