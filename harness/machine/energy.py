"""Energy counters by device: NVML for a GPU, RAPL for a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Protocol

from harness.errors import HarnessError
from harness.machine.nvml import NvmlGpu
from harness.machine.rapl import POWERCAP, Zone, find_zones

Device = Literal["cpu", "gpu"]
NVML: Final = "NVML, the whole GPU"
_RAPL: Final = "RAPL"


class EnergyCounter(Protocol):
    """Energy of a device since an arbitrary moment."""

    source: str
    """What counts, and what of the machine."""

    def joules(self) -> float:
        """Never less than at the last reading."""


class RaplCounter:
    """All packages and their memory; turns of the counters are followed as long as it is read now and then."""

    def __init__(self, zones: tuple[Zone, ...]) -> None:
        self._zones = zones
        self._last = [zone.read_uj() for zone in zones]
        self._joules = 0.0
        self.source = f"{_RAPL}, {', '.join(dict.fromkeys(zone.name for zone in zones))}"

    def joules(self) -> float:
        """Since this object was made."""
        now = [zone.read_uj() for zone in self._zones]
        self._joules += sum(map(Zone.since, self._zones, self._last, now))
        self._last = now
        return self._joules


class NvmlCounter:
    """The GPU with its memory."""

    def __init__(self, gpu: NvmlGpu) -> None:
        self._gpu = gpu
        self.source = NVML
        gpu.joules()

    def joules(self) -> float:
        """Since the driver was loaded."""
        return self._gpu.joules()


def open_counter(device: Device, powercap: Path = POWERCAP) -> EnergyCounter:
    """The counter of a device; HarnessError with the reason and the fix where there is none."""
    return NvmlCounter(NvmlGpu()) if device == "gpu" else RaplCounter(find_zones(powercap))


def why_not(device: Device) -> str | None:
    """Why the energy of a device cannot be read here, with the fix in one sentence; None when it can."""
    try:
        open_counter(device)
    except HarnessError as error:
        return error.message if error.fix is None else f"{error.message}: {error.fix}"
    return None
