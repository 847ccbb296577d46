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
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""`bf16` is ARM's."""
DOT_PRODUCT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})

STAGES_AT_ONCE = 4
"""As many as run at once by default where there are cores for them."""
_THREADS_DIGITS = 4
_CPUINFO = Path("/proc/cpuinfo")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_BOOST = Path("/sys/devices/system/cpu/cpufreq/boost")
_NO_TURBO = Path("/sys/devices/system/cpu/intel_pstate/no_turbo")
_SMT = Path("/sys/devices/system/cpu/smt/active")
_MITIGATIONS = Path("/sys/devices/system/cpu/vulnerabilities")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_KHZ_PER_MHZ = 1000


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
        "governor": governor(),
        "frequency_driver": _read(_CPUFREQ / "scaling_driver"),
        "clocks_mhz": _clocks_mhz(info),
        "turbo": _turbo(),
        "smt": _switch(_read(_SMT)),
        "affinity": _affinity(),
        "quota_cores": _quota_cores(),
        "microcode": _field(info, "microcode"),
    }


def governor() -> str | None:
    """What chooses the clock of the first core, for instance `performance`; None where that is not shown."""
    return _read(_CPUFREQ / "scaling_governor")


def mitigations() -> dict[str, str]:
    """What the kernel does about each flaw of the CPU; flaws that this CPU does not have are left out."""
    found = {path.name: _read(path) for path in sorted(_MITIGATIONS.glob("*"))}
    return {name: text for name, text in found.items() if text and text != "Not affected"}


def transparent_hugepages() -> str | None:
    """`always`, `madvise` or `never`; the kernel puts what is in force in brackets."""
    match = re.search(r"\[(\w+)\]", _read(_HUGE_PAGES) or "")
    return match.group(1) if match else None


def instruction_sets() -> tuple[str, ...]:
    """Those of `CPU_FLAGS` that this CPU has."""
    flags = cpu_flags(_read(_CPUINFO) or "")
    return tuple(name for name in CPU_FLAGS if name in flags)


def has_vnni() -> bool:
    """Whether the CPU has 8-bit dot products; without them INT8 gains little over FP32."""
    return not DOT_PRODUCT_FLAGS.isdisjoint(instruction_sets())


def has_bf16() -> bool:
    """Whether the CPU multiplies BF16; without the instructions libraries do it in FP32."""
    return not _BF16_FLAGS.isdisjoint(cpu_flags(_read(_CPUINFO) or ""))


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
    quota = _quota_cores()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def stage_threads() -> int:
    """Threads that each stage computes with: `$OMP_NUM_THREADS`, else a quarter of the cores, but at least one.

    Sums in floating point depend on it, so it is part of every key and does not depend on how many stages run at once.
    """
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdecimal() and len(configured) <= _THREADS_DIGITS and int(configured) > 0:
        return int(configured)
    return max(1, usable_cores() // STAGES_AT_ONCE)


def quota_cores(cpu_max: str) -> float | None:
    """Cores that cgroup v2's `cpu.max` (`<quota or max> <period>`, microseconds) grants; None for no limit."""
    match = re.fullmatch(r"(\d+) (\d+)", cpu_max)
    return int(match.group(1)) / int(match.group(2)) if match else None


def _quota_cores() -> float | None:
    """The tightest quota of this process's control group and those above it; None for no limit."""
    own = re.search(r"^0::/(.*)$", _read(_OWN_CGROUP) or "", flags=re.MULTILINE)
    path = _CGROUP / own.group(1) if own else _CGROUP
    folders = [folder for folder in (path, *path.parents) if folder.is_relative_to(_CGROUP)]
    quotas = [quota_cores(_read(folder / "cpu.max") or "") for folder in folders]
    return min(filter(None, [*quotas, _quota_cores_v1()]), default=None)


def _quota_cores_v1() -> float | None:
    """The same from cgroup v1, where -1 means no limit."""
    quota, period = (_read(_CGROUP / "cpu" / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    return quota_cores(f"{quota} {period}")


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
    return _field(cpuinfo, "model name") or platform.processor() or platform.machine()


def _field(cpuinfo: str, name: str) -> str | None:
    """Value of a field for the first core."""
    match = re.search(rf"^{name}\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)
    return match.group(1).strip() if match else None


def _clocks_mhz(cpuinfo: str) -> dict[str, int | None]:
    """Clocks of the first core: the limits that the governor keeps to, the hardware's maximum, and the clock now."""
    files = {"min": "scaling_min_freq", "max": "scaling_max_freq", "hardware_max": "cpuinfo_max_freq"}
    found: dict[str, int | None] = {name: _mhz(_CPUFREQ / file) for name, file in files.items()}
    now = _mhz(_CPUFREQ / "scaling_cur_freq") or round(float(_field(cpuinfo, "cpu MHz") or 0)) or None
    return found | {"current": now}


def _mhz(path: Path) -> int | None:
    text = _read(path) or ""
    return int(text) // _KHZ_PER_MHZ if text.isdigit() else None


def _affinity() -> list[int] | None:
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return None


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
