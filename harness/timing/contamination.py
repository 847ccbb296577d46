"""What else the machine did during a round.

Contaminated rounds are labelled and stay in: leaving them out is the reader's choice, and every label is in the
Parquet file.

A signal is something that this machine lets one read; where it does not, the label never appears, and the record
says which signals were watched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAITED_SHARE = 0.02
"""Share of a round in which its threads were ready and had no core."""
LOAD_CORES = 0.25
"""Kept busy by other processes."""
CLOCK_CHANGE = 0.05
"""Relative to the first round of the process."""

Reading = float | None


@dataclass(frozen=True)
class Paths:
    """Where Linux keeps the figures; tests use trees of their own."""

    proc: Path = Path("/proc")
    cpus: Path = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Signal:
    """One figure of the machine, and when it makes a round contaminated."""

    name: str
    read: Callable[[], Reading]
    """The figure now; None where the machine does not tell."""
    is_contaminated: Callable[[float, float, float], bool]
    """From the figure before and after the round, and the round's seconds."""


class ContaminationMonitor:
    """Reads the signals before and after each round."""

    def __init__(self, signals: Sequence[Signal] = ()) -> None:
        self._signals = [signal for signal in signals if signal.read() is not None]
        self._before: list[Reading] = []
        self._started = 0.0

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of those that this machine lets one read."""
        return tuple(signal.name for signal in self._signals)

    def start(self) -> None:
        """Before a round."""
        self._before = [signal.read() for signal in self._signals]
        self._started = time.perf_counter()

    def stop(self) -> tuple[str, ...]:
        """After a round: the names of the signals that were raised in it."""
        seconds = time.perf_counter() - self._started
        raised = []
        for signal, before in zip(self._signals, self._before, strict=True):
            after = signal.read()
            if before is not None and after is not None and signal.is_contaminated(before, after, seconds):
                raised.append(signal.name)
        return tuple(raised)


def host_signals(paths: Paths | None = None) -> tuple[Signal, ...]:
    """Signals of the CPU and its other users.

    | Signal | A round carries its name when |
    | --- | --- |
    | `waited` | the timing threads were ready to run but had no core for more than 2 % of the round |
    | `load` | other processes kept more than a quarter of a core busy, beyond two clock ticks (20 ms of core time) |
    | `stolen` | the hypervisor gave a core to another machine |
    | `clock` | the clock differs by more than 5 % from the first round's |
    | `throttled` | a core was throttled for its heat |
    """
    paths = paths or Paths()
    first_clock: list[float] = []

    def clock_changed(_: float, after: float, __: float) -> bool:
        if not first_clock:
            first_clock.append(after)
        return abs(after / first_clock[0] - 1.0) > CLOCK_CHANGE

    return (
        Signal("waited", lambda: _waited_s(paths), lambda old, new, s: new - old > WAITED_SHARE * s),
        Signal("load", lambda: _others_busy_s(paths), lambda old, new, s: new - old > LOAD_CORES * s + 2 * _tick_s()),
        Signal("stolen", lambda: _stolen_s(paths), lambda old, new, _: new > old),
        Signal("clock", lambda: _clock_hz(paths), clock_changed),
        Signal("throttled", lambda: _throttled(paths), lambda old, new, _: new > old),
    )


def gpu_signals(nvml: Any, handle: Any) -> tuple[Signal, ...]:
    """Signals of an NVIDIA GPU: `gpu_shared` (another process computes on it, too) and `gpu_throttled`.

    Processes are counted, not compared with this one: in a container the driver may know them by other numbers.

    Args:
        nvml: the module `pynvml`, initialised.
        handle: of the device.
    """
    harmless = nvml.nvmlClocksEventReasonGpuIdle | nvml.nvmlClocksEventReasonApplicationsClocksSetting

    def others() -> Reading:
        with suppress(nvml.NVMLError):
            return float(max(0, len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)) - 1))
        return None

    def slowed() -> Reading:
        with suppress(nvml.NVMLError):
            return float(bool(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) & ~harmless))
        return None

    return (
        Signal("gpu_shared", others, lambda old, new, _: max(old, new) > 0),
        Signal("gpu_throttled", slowed, lambda old, new, _: max(old, new) > 0),
    )


def _waited_s(paths: Paths) -> Reading:
    """Seconds that the threads of this process were ready to run and did not (second field of `schedstat`)."""
    with suppress(OSError, ValueError, IndexError):
        tasks = list((paths.proc / "self" / "task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9
    return None


def _others_busy_s(paths: Paths) -> Reading:
    """Core seconds used by everybody else; in steps of a clock tick per core."""
    fields = _cpu_times(paths)
    if fields is None:
        return None
    own = time.process_time()
    return fields["user"] + fields["nice"] + fields["system"] + fields["irq"] + fields["softirq"] - own


def _stolen_s(paths: Paths) -> Reading:
    fields = _cpu_times(paths)
    return None if fields is None else fields["steal"]


def _cpu_times(paths: Paths) -> Mapping[str, float] | None:
    """Seconds since boot by kind, of all cores (first line of `/proc/stat`, in clock ticks)."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    with suppress(OSError, ValueError):
        head, *ticks = (paths.proc / "stat").read_text().split("\n", 1)[0].split()
        if head == "cpu" and len(ticks) >= len(names):
            return {name: int(tick) * _tick_s() for name, tick in zip(names, ticks, strict=False)}
    return None


def _tick_s() -> float:
    return 1.0 / os.sysconf("SC_CLK_TCK")


def _clock_hz(paths: Paths) -> Reading:
    """Mean clock of the cores that tell theirs."""
    clocks = []
    for file in paths.cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        with suppress(OSError, ValueError):
            clocks.append(int(file.read_text()) * 1e3)
    return sum(clocks) / len(clocks) if clocks else None


def _throttled(paths: Paths) -> Reading:
    """How often a core has been throttled."""
    counts = []
    for file in paths.cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
        with suppress(OSError, ValueError):
            counts.append(int(file.read_text()))
    return float(sum(counts)) if counts else None
