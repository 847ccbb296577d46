"""CPU, memory and container, read from where Linux keeps them; other systems give what Python knows."""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path
from typing import Any

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
"""Instruction sets that decide integer speed (`asimddp` is ARM's dot product)."""
DOT_PRODUCT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})

_CPUINFO = Path("/proc/cpuinfo")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_BOOST = Path("/sys/devices/system/cpu/cpufreq/boost")
_NO_TURBO = Path("/sys/devices/system/cpu/intel_pstate/no_turbo")
_SMT = Path("/sys/devices/system/cpu/smt/active")
_CGROUP = Path("/sys/fs/cgroup")


def cpu() -> dict[str, Any]:
    """Model, cores, and whatever makes its speed vary."""
    info = _read(_CPUINFO) or ""
    flags = cpu_flags(info)
    return {
        "model": _cpu_model(info),
        "logical_cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "flags": {name: name in flags for name in CPU_FLAGS},
        "virtual": "hypervisor" in flags,
        "governor": _read(_CPUFREQ / "scaling_governor"),
        "turbo": _turbo(),
        "smt": _switch(_read(_SMT)),
    }


def instruction_sets() -> tuple[str, ...]:
    """Those of `CPU_FLAGS` that this CPU has."""
    flags = cpu_flags(_read(_CPUINFO) or "")
    return tuple(name for name in CPU_FLAGS if name in flags)


def has_vnni() -> bool:
    """Whether the CPU has 8-bit dot products; without them INT8 gains little over FP32."""
    return not DOT_PRODUCT_FLAGS.isdisjoint(instruction_sets())


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """Instruction set flags in the text of `/proc/cpuinfo` (x86 `flags`, ARM `Features`)."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def usable_cores() -> int:
    """Cores that this process may use: its affinity, limited by the container's CPU quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = os.cpu_count() or 1
    quota = quota_cores(_read(_CGROUP / "cpu.max") or "")
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def quota_cores(cpu_max: str) -> float | None:
    """Cores that cgroup v2's `cpu.max` (`<quota or max> <period>`, microseconds) grants; None for no limit."""
    match = re.fullmatch(r"(\d+) (\d+)", cpu_max)
    return int(match.group(1)) / int(match.group(2)) if match else None


def memory_bytes() -> int | None:
    """Memory of the machine, or of the container when that has less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = _read(_CGROUP / "memory.max") or ""
    return min(total, int(limit)) if limit.isdigit() else total


def container() -> str | None:
    """Kind of container this runs in, as far as it shows; None when it does not."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return os.environ.get("container") or None  # noqa: SIM112  # systemd writes it in lower case


def _cpu_model(cpuinfo: str) -> str:
    match = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _turbo() -> bool | None:
    boost = _switch(_read(_BOOST))
    no_turbo = _switch(_read(_NO_TURBO))
    return boost if no_turbo is None else not no_turbo


def _switch(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
