"""Energy of the CPU packages and their memory from RAPL, as Linux shows it under `/sys/class/powercap`.

https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import HarnessError

POWERCAP: Final = Path("/sys/class/powercap")
READABLE: Final = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
_MICRO: Final = 1e-6


class RaplUnavailable(HarnessError):
    """RAPL cannot be read, and why."""


@dataclass(frozen=True)
class Zone:
    """One counter; AMD's have the same names."""

    name: str
    folder: Path
    range_uj: int
    """The counter starts again at zero after this many microjoules."""

    def read_uj(self) -> int:
        """The counter."""
        return int((self.folder / "energy_uj").read_text(encoding="ascii"))

    def since(self, before_uj: int, after_uj: int) -> float:
        """Joules between two readings less than one turn of the counter apart."""
        turned = self.range_uj if after_uj < before_uj else 0
        return (after_uj + turned - before_uj) * _MICRO


def find_zones(powercap: Path = POWERCAP) -> tuple[Zone, ...]:
    """The packages, and their memory where it is counted; RaplUnavailable with the reason and the fix.

    `core` and `uncore` are parts of a package, `psys` contains the packages, and `intel-rapl-mmio` repeats them.
    """
    folders = sorted(powercap.glob("intel-rapl:*"))
    named = [(_text(folder / "name"), folder) for folder in folders]
    counted = [(name, folder) for name, folder in named if name.startswith("package") or name == "dram"]
    if not counted:
        raise RaplUnavailable("this machine shows no RAPL counters (virtual machines rarely do)")
    zones = tuple(Zone(name, folder, int(_text(folder / "max_energy_range_uj") or 0)) for name, folder in counted)
    try:
        for zone in zones:
            zone.read_uj()
    except PermissionError as error:
        raise RaplUnavailable("RAPL counters are readable by root only", fix=READABLE) from error
    except (OSError, ValueError) as error:
        raise RaplUnavailable(f"RAPL counters cannot be read: {error}") from error
    return zones


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
