"""What works on this machine and, for what does not, the one command that fixes it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import load
from harness.data.settings import DatasetSpec
from harness.data.sources import data_sources
from harness.engine.store import Store, default_root
from harness.errors import DataError, HarnessError, UsageError
from harness.machine.energy import Device, open_counter
from harness.machine.hardware import cpu, governor, has_vnni, instruction_sets, usable_cores
from harness.machine.host_memory import RESET_PEAK, PeakMemory
from harness.runs.availability import checked_availability, with_imports
from harness.runs.importable import import_problem
from harness.targets import targets
from harness.targets.tensorrt.gpu import find_gpu
from harness.toolkits import toolkits

_REQUIRED = ("torch", "torchao", "onnx", "onnxscript")
SET_GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_NO_ARGUMENTS_NEEDED = ("fashion_mnist",)


@dataclass(frozen=True)
class DoctorCheck:
    """One line of the diagnosis."""

    what: str
    found: str
    ok: bool
    required: bool = False
    fix: str | None = None

    @property
    def mark(self) -> str:
        """`ok`, `--` for something optional that is missing, `NO` for something required."""
        return "ok" if self.ok else "NO" if self.required else "--"

    @property
    def is_required_and_missing(self) -> bool:
        """Whether nothing can be run before this is fixed."""
        return self.required and not self.ok


def diagnose() -> Iterator[DoctorCheck]:
    """All findings, the required ones first."""
    yield DoctorCheck(
        "python", sys.version.split()[0], sys.version_info >= (3, 11), required=True, fix="use Python >= 3.11"
    )
    for name in _REQUIRED:
        version = _version(name)
        problem = "not installed" if version is None else import_problem(name)
        fix = f"pip install --force-reinstall {name}" if version else f"pip install {name}"
        detail = (version or "") if problem is None else problem if version is None else f"{version}: {problem}"
        yield DoctorCheck(name, detail, problem is None, required=True, fix=fix)
    yield _integer_instructions()
    for target in targets().values():
        found = checked_availability(target)
        yield DoctorCheck(f"target {target.name}", found.detail, found.usable, fix=found.fix)
    for toolkit in toolkits().values():
        found = checked_availability(toolkit)
        yield DoctorCheck(f"toolkit {toolkit.name}", found.detail, found.usable, fix=found.fix)
    yield from measuring_findings()
    loadgen = load.availability()
    loadgen = with_imports(loadgen, (load.MODULE,)) if loadgen.usable else loadgen
    yield DoctorCheck("load scenarios", loadgen.detail, loadgen.usable, fix=loadgen.fix)
    yield from _data()
    yield _store()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _integer_instructions() -> DoctorCheck:
    processor = cpu()
    found = f"{processor['model']}, {usable_cores()} cores, {' '.join(instruction_sets()) or 'no vector flags'}"
    if has_vnni():
        return DoctorCheck("INT8 instructions", found, ok=True)
    return DoctorCheck(
        "INT8 instructions",
        f"{found}; without VNNI 8-bit weights use exact but slower kernels",
        ok=False,
        fix="add `weight_bits: [8, 7]` to the matrix: 7-bit weights keep the fast kernels",
    )


def measuring_findings() -> Iterator[DoctorCheck]:
    """What of the machine can be read and is set for measurements."""
    yield _governor()
    yield _energy("energy of the CPU", "cpu")
    if find_gpu() is not None:
        yield _energy("energy of the GPU", "gpu")
    peak = PeakMemory().read().source
    fine = peak == RESET_PEAK
    yield DoctorCheck("peak memory", peak, ok=fine, fix=None if fine else "let processes write /proc/self/clear_refs")


def _governor() -> DoctorCheck:
    found = governor()
    if found is None:
        return DoctorCheck("CPU governor", "not shown: the host of a virtual machine decides", ok=True)
    return DoctorCheck("CPU governor", found, ok=found == "performance", fix=SET_GOVERNOR)


def _energy(what: str, device: Device) -> DoctorCheck:
    try:
        return DoctorCheck(what, open_counter(device).source, ok=True)
    except HarnessError as error:
        return DoctorCheck(what, error.message, ok=False, fix=error.fix)


def _data() -> Iterator[DoctorCheck]:
    for name in _NO_ARGUMENTS_NEEDED:
        source = data_sources()[name]
        try:
            located = source.locate(DatasetSpec(source=name), Path.cwd(), download=False)
            embedded = located.description.startswith("embedded")
            fix = "apt-get install dataset-fashion-mnist, or `harness run --download`" if embedded else None
            found = f"{located.description}{' (subset)' if embedded else ''}"
            yield DoctorCheck(f"data {name}", found, ok=not embedded, fix=fix)
        except DataError as error:
            yield DoctorCheck(f"data {name}", error.message, ok=False, fix=error.fix)


def _store() -> DoctorCheck:
    try:
        root = default_root()
    except UsageError as error:
        return DoctorCheck("store", error.message, ok=False, required=True, fix=error.fix)
    nearest = next(folder for folder in (root, *root.parents) if os.path.exists(folder))  # noqa: PTH110 - also no rights
    writable = os.access(nearest, os.W_OK)
    size = Store(root).size() if os.access(root, os.R_OK) else None
    found = f"{root}" + (f", {size.artifacts} results, {size.bytes / 1e6:.0f} MB" if size else ", empty")
    return DoctorCheck("store", found, writable, required=True, fix="set HARNESS_STORE to a folder that you can write")
