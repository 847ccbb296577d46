"""Peak memory of this process (resident set size), from where Linux keeps it."""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self")
_RESET_PEAK: Final = "5"
"""Written to `clear_refs`, it sets the peak (`VmHWM`) to the present value (proc(5))."""
_KIB: Final = 1024

RESET_PEAK: Final = "VmHWM, reset before"
PROCESS_PEAK: Final = "ru_maxrss, of the process since it started"


@dataclass(frozen=True)
class HostPeak:
    """Memory of this process before and at the peak of some work."""

    baseline_bytes: int
    peak_bytes: int
    source: str
    """`RESET_PEAK`, or `PROCESS_PEAK` where the peak could not be reset: what came before then counts too."""

    @property
    def increase_bytes(self) -> int:
        """What the work added."""
        return self.peak_bytes - self.baseline_bytes


class PeakMemory:
    """Peak of this process from the moment this object is made."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._is_reset = _reset_peak(proc)
        self._baseline = _status_bytes(proc, "VmRSS")

    def read(self) -> HostPeak:
        """The peak so far."""
        peak = _status_bytes(self._proc, "VmHWM") if self._is_reset else None
        source = RESET_PEAK if peak is not None else PROCESS_PEAK
        if peak is None:
            peak = _since_start()
        return HostPeak(min(self._baseline or peak, peak), peak, source)


def release_free_memory() -> None:
    """Give freed memory back to the system, so that what is taken next is seen as an increase."""
    gc.collect()
    with suppress(OSError, AttributeError):  # `malloc_trim` is glibc's
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak(proc: Path) -> bool:
    try:
        (proc / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _status_bytes(proc: Path, field: str) -> int | None:
    try:
        text = (proc / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(rf"^{field}:\s*(\d+) kB", text, flags=re.MULTILINE)
    return int(match.group(1)) * _KIB if match else None


def _since_start() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB
