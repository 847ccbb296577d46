"""What OpenVINO is installed, and which devices it finds."""

from __future__ import annotations

import functools
from importlib import metadata


def version() -> str | None:
    """Version of the installed package, found without importing it; None when there is none."""
    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def devices() -> tuple[str, ...] | None:
    """Devices that OpenVINO finds on this machine, for instance `CPU` and `GPU`; None where it cannot be imported."""
    try:
        import openvino
    except Exception:  # a package that is there and broken; `checked` says what is wrong with it
        return None
    return tuple(openvino.Core().available_devices)


@functools.cache
def capabilities(device: str) -> tuple[str, ...]:
    """What a device has kernels for, for instance `FP32`, `BF16` and `INT8`; nothing for a device that is not there."""
    if not _has(device):
        return ()
    import openvino

    return tuple(sorted(openvino.Core().get_property(device, "OPTIMIZATION_CAPABILITIES")))


def device_names() -> list[str]:
    """Each device with the name of its hardware."""
    found = devices()
    if not found:
        return []
    import openvino

    core = openvino.Core()
    return [f"{name} ({str(core.get_property(name, 'FULL_DEVICE_NAME')).strip()})" for name in found]


def refusal_of_device(device: str) -> str | None:
    """Why nothing can run on a device here; None when it is there, or OpenVINO is not installed."""
    found = devices()
    if found is None or _has(device):
        return None
    return f"OpenVINO finds no {device} on this machine; its devices are: {', '.join(found) or 'none'}"


def _has(device: str) -> bool:
    """Several devices of a kind are called `GPU.0`, `GPU.1`."""
    return any(each == device or each.startswith(f"{device}.") for each in devices() or ())
