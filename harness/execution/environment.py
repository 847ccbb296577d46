"""What the machine is: everything that a reader needs to judge or repeat a measurement.

Nothing here is required of a machine: what cannot be read is None or absent, never an error.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
from harness.hardware import container, cpu, has_vnni, memory_bytes, usable_cores

__all__ = ["fingerprint", "has_vnni", "usable_cores"]

PACKAGES = (
    "torch",
    "torchao",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "numpy",
    "nvidia-modelopt",
    "nncf",
    "mlcommons-loadgen",
)
PACKAGE_PREFIXES = ("tensorrt",)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "CUDA_VISIBLE_DEVICES",
)
_COMMAND_TIMEOUT_S = 10.0
_GPU_FIELDS = ("name", "driver_version", "memory.total", "compute_cap")


def fingerprint(project_root: Path | None = None) -> dict[str, Any]:
    """Software, hardware and load of this machine, as JSON values.

    Args:
        project_root: folder whose git commit is recorded; the working directory when None.
    """
    return {
        "harness": harness.__version__,
        "python": platform.python_version(),
        "os": _os_name(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": cpu(),
        "memory_bytes": memory_bytes(),
        "container": container(),
        "gpus": gpus(),
        "packages": packages(),
        "git": git_state(project_root or Path.cwd()),
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "load_average": _load_average(),
    }


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
    lines = _output(["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader"])
    rows = [[cell.strip() for cell in line.split(",")] for line in (lines or "").splitlines()]
    names = [field.replace(".", "_") for field in _GPU_FIELDS]
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
