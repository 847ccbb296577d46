"""What the machine is: everything that a reader needs to judge or repeat a measurement.

Nothing here is required of a machine: what cannot be read is None or absent, never an error.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness import version
from harness.machine.hardware import (
    container,
    cpu,
    has_vnni,
    memory_bytes,
    mitigations,
    transparent_hugepages,
    usable_cores,
)

__all__ = ["fingerprint", "has_vnni", "machine", "usable_cores"]

PACKAGES = (
    "torch",
    "torchao",
    "onnx",
    "onnxruntime",
    "openvino",
    "onnxruntime-gpu",
    "onnxscript",
    "numpy",
    "scipy",
    "torchmetrics",
    "torchvision",
    "pycuda",
    "nvidia-modelopt",
    "nncf",
    "mlcommons-loadgen",
    "nvidia-ml-py",
)
PACKAGE_PREFIXES = ("tensorrt", "nvidia-cublas", "nvidia-cudnn")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "CUDA_VISIBLE_DEVICES",
    "MALLOC_ARENA_MAX",
    "LD_PRELOAD",
)
_COMMAND_TIMEOUT_S = 10.0
_GPU_FIELDS = ("name", "driver_version", "memory.total", "compute_cap")
_GPU_STATE_FIELDS = (
    "persistence_mode",
    "mig.mode.current",
    "ecc.mode.current",
    "power.limit",
    "clocks.max.sm",
    "clocks.max.mem",
    "clocks.applications.graphics",
    "clocks.sm",
    "clocks.mem",
    "pstate",
    "temperature.gpu",
    "utilization.gpu",
)
"""Drivers differ in which of these they know, and refuse the whole question for one that they do not."""


def fingerprint(project_root: Path | None = None) -> dict[str, Any]:
    """Software, hardware and load of this machine, as JSON values.

    Args:
        project_root: folder whose git commit is recorded; the working directory when None.
    """
    return {
        "harness": version.__version__,
        "python": platform.python_version(),
        "os": _os_name(),
        "kernel": platform.release(),
        **machine(),
        "memory_bytes": memory_bytes(),
        "transparent_hugepages": transparent_hugepages(),
        "mitigations": mitigations(),
        "container": container(),
        "packages": packages(),
        "blas": blas(),
        "git": git_state(project_root or Path.cwd()),
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "load_average": _load_average(),
    }


def machine() -> dict[str, Any]:
    """What `machine_class` names a machine after."""
    return {"architecture": platform.machine(), "cpu": cpu(), "gpus": gpus()}


def blas() -> dict[str, str]:
    """The linear algebra of numpy and torch, of those that this process has imported."""
    found = {}
    if (numpy := sys.modules.get("numpy")) is not None:
        with suppress(AttributeError, KeyError):  # the layout of the record has no promise
            built = numpy.__config__.CONFIG["Build Dependencies"]["blas"]
            found["numpy"] = f"{built['name']} {built['version']}"
    if (torch := sys.modules.get("torch")) is not None:
        match = re.search(r"\bBLAS_INFO=(\w+)", torch.__config__.show())
        if match:
            found["torch"] = match.group(1)
    return found


def packages() -> dict[str, str]:
    """Versions of the installed distributions that decide results, by normalised name."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = (distribution.name or "").lower().replace("_", "-")
        if name in PACKAGES or name.startswith(PACKAGE_PREFIXES):
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


def gpus() -> list[dict[str, str]]:
    """NVIDIA GPUs as `nvidia-smi` names them; empty when there is none or it does not answer."""
    return _query_gpus((*_GPU_FIELDS, *_GPU_STATE_FIELDS)) or _query_gpus(_GPU_FIELDS)


def _query_gpus(fields: Sequence[str]) -> list[dict[str, str]]:
    lines = _output(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"])
    rows = [[cell.strip() for cell in line.split(",")] for line in (lines or "").splitlines()]
    names = [field.replace(".", "_") for field in fields]
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that `folder` is in and whether it has changes; None outside of one."""
    commit = _output(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if commit is None:
        return None
    changes = _output(["git", "-C", str(folder), "status", "--porcelain"])
    return {"commit": commit.strip(), "dirty": None if changes is None else bool(changes.strip())}


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.version()}"


def _load_average() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (OSError, AttributeError):
        return None


def _output(command: Sequence[str]) -> str | None:
    """What a command prints, or None when it is missing, fails or hangs."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  # fixed commands, no shell
            [program, *command[1:]], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
