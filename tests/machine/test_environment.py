import json
import os
import platform
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.engine.outcomes import Listener
from harness.engine.store import Store
from harness.machine import hardware
from harness.machine.environment import fingerprint, git_state, gpus, packages
from harness.machine.hardware import CPU_FLAGS, cpu_flags, quota_cores, usable_cores
from harness.runs import run

X86 = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class TestFingerprint:
    def test_is_json_and_names_what_decides_a_measurement(self) -> None:
        found = json.loads(json.dumps(fingerprint(), allow_nan=False))
        assert found["python"] == platform.python_version()
        assert found["cpu"]["logical_cores"] == os.cpu_count()
        assert set(found["cpu"]["flags"]) == set(CPU_FLAGS)
        assert found["memory_bytes"] > 0

    def test_records_thread_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert fingerprint()["thread_variables"]["OMP_NUM_THREADS"] == "3"

    def test_does_not_import_torch(self) -> None:
        script = "import sys; from harness.machine.environment import fingerprint; fingerprint(); "
        script += "sys.exit(any(name in sys.modules for name in ('torch', 'onnx', 'numpy', 'pandas')))"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class TestCpu:
    def test_flags_of_x86_and_arm(self) -> None:
        assert {"avx2", "avx512_vnni"} <= cpu_flags(X86)
        assert "asimddp" in cpu_flags(ARM)
        assert cpu_flags("") == frozenset()

    @pytest.mark.parametrize(
        ("text", "sets", "vnni"),
        [
            (X86, ("avx2", "avx512f", "avx512_vnni"), True),
            (ARM, ("asimddp",), True),
            (X86.replace("avx512_vnni", ""), ("avx2", "avx512f"), False),
        ],
    )
    def test_instruction_sets(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sets: tuple[str, ...], vnni: bool
    ) -> None:
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
        assert hardware.instruction_sets() == sets
        assert hardware.has_vnni() is vnni

    @pytest.mark.parametrize(
        ("text", "cores"), [("max 100000", None), ("200000 100000", 2.0), ("150000 100000", 1.5), ("", None)]
    )
    def test_quota_of_a_container(self, text: str, cores: float | None) -> None:
        assert quota_cores(text) == cores

    @pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("250000 100000", 3)])
    def test_usable_cores_are_limited_by_the_quota(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
    ) -> None:
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
        assert usable_cores() == cores


class TestFrequencies:
    """A fake `/sys`: what the governor may do, and what it does."""

    @pytest.fixture
    def cpufreq(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name, text in {
            "scaling_governor": "performance",
            "scaling_driver": "intel_pstate",
            "scaling_min_freq": "800000",
            "scaling_max_freq": "3700000",
            "cpuinfo_max_freq": "4100000",
            "scaling_cur_freq": "2399876",
        }.items():
            (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(hardware, "_CPUFREQ", tmp_path)
        return tmp_path

    def test_governor_limits_and_clock(self, cpufreq: Path) -> None:
        found = hardware.cpu()
        assert (found["governor"], found["frequency_driver"]) == ("performance", "intel_pstate")
        assert found["clocks_mhz"] == {"min": 800, "max": 3700, "hardware_max": 4100, "current": 2399}

    def test_without_them_the_clock_is_that_of_cpuinfo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cpuinfo").write_text(X86 + "cpu MHz\t\t: 2599.998\nmicrocode\t: 0xa101148\n")
        monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(hardware, "_CPUFREQ", tmp_path / "absent")
        found = hardware.cpu()
        assert found["clocks_mhz"] == {"min": None, "max": None, "hardware_max": None, "current": 2600}
        assert found["governor"] is None
        assert found["microcode"] == "0xa101148"

    @pytest.mark.parametrize(
        ("boost", "no_turbo", "turbo"), [("1", None, True), ("0", None, False), (None, "1", False), (None, "0", True)]
    )
    def test_turbo_of_either_driver(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boost: str | None, no_turbo: str | None, turbo: bool
    ) -> None:
        for name, text in (("boost", boost), ("no_turbo", no_turbo)):
            if text is not None:
                (tmp_path / name).write_text(text)
            monkeypatch.setattr(hardware, f"_{name.upper()}", tmp_path / name)
        assert hardware.cpu()["turbo"] is turbo

    def test_affinity(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 1})
        assert hardware.cpu()["affinity"] == [1, 3]


class TestKernelSettings:
    @pytest.mark.parametrize(
        ("text", "mode"), [("always [madvise] never", "madvise"), ("[always] madvise never", "always"), ("", None)]
    )
    def test_huge_pages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: str | None) -> None:
        (tmp_path / "enabled").write_text(text)
        monkeypatch.setattr(hardware, "_HUGE_PAGES", tmp_path / "enabled")
        assert hardware.transparent_hugepages() == mode

    def test_mitigations_of_flaws_that_the_cpu_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "meltdown").write_text("Not affected\n")
        (tmp_path / "retbleed").write_text("Vulnerable\n")
        monkeypatch.setattr(hardware, "_MITIGATIONS", tmp_path)
        assert hardware.mitigations() == {"retbleed": "Vulnerable"}


class TestQuota:
    @pytest.fixture
    def tree(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(hardware, "_CGROUP", tmp_path / "cgroup")
        monkeypatch.setattr(hardware, "_OWN_CGROUP", tmp_path / "own")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
        return tmp_path

    def quota(self, folder: Path, text: str, name: str = "cpu.max") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def test_of_a_group_above_counts_too(self, tree: Path) -> None:
        (tree / "own").write_text("0::/user.slice/job\n")
        self.quota(tree / "cgroup/user.slice", "300000 100000")
        self.quota(tree / "cgroup/user.slice/job", "max 100000")
        assert hardware.cpu()["quota_cores"] == 3.0
        assert usable_cores() == 3

    def test_of_cgroup_v1(self, tree: Path) -> None:
        self.quota(tree / "cgroup/cpu", "150000", "cpu.cfs_quota_us")
        self.quota(tree / "cgroup/cpu", "100000", "cpu.cfs_period_us")
        assert hardware.cpu()["quota_cores"] == 1.5

    def test_none_of_cgroup_v1(self, tree: Path) -> None:
        self.quota(tree / "cgroup/cpu", "-1", "cpu.cfs_quota_us")
        self.quota(tree / "cgroup/cpu", "100000", "cpu.cfs_period_us")
        assert hardware.cpu()["quota_cores"] is None


class TestGpus:
    def test_are_named_as_nvidia_smi_does(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path, "nvidia-smi", "echo 'NVIDIA L4, 550.54.15, 23034 MiB, 8.9'")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert gpus() == [
            {"name": "NVIDIA L4", "driver_version": "550.54.15", "memory_total": "23034 MiB", "compute_cap": "8.9"}
        ]

    def test_have_their_state_where_the_driver_knows_every_field(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = "NVIDIA L4, 550.54.15, 23034 MiB, 8.9, Enabled, [N/A], Enabled, 72.00 W, 2040 MHz, 6251 MHz, 2040 MHz"
        program(tmp_path, "nvidia-smi", f"echo '{known}, 300 MHz, 405 MHz, P8, 41, 0 %'")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        (gpu,) = gpus()
        assert (gpu["persistence_mode"], gpu["power_limit"], gpu["clocks_max_sm"]) == ("Enabled", "72.00 W", "2040 MHz")

    @pytest.mark.parametrize("script", ["echo 'No devices were found'", "echo failed; exit 9"])
    def test_a_driver_in_trouble_is_no_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        program(tmp_path, "nvidia-smi", script)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert gpus() == []

    def test_no_driver_is_no_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert gpus() == []


class TestGit:
    def test_commit_and_changes(self, tmp_path: Path) -> None:
        def git(*arguments: str) -> str:
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
            command = ["git", "-C", str(tmp_path), *identity, *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        git("init", "-q")
        git("commit", "-q", "--allow-empty", "-m", "first")
        commit = git("rev-parse", "HEAD").strip()
        assert git_state(tmp_path) == {"commit": commit, "dirty": False}
        (tmp_path / "new").write_text("")
        assert git_state(tmp_path) == {"commit": commit, "dirty": True}

    def test_outside_of_a_checkout(self, tmp_path: Path) -> None:
        assert git_state(tmp_path) is None


class TestBlas:
    def test_of_what_is_imported(self) -> None:
        script = "import json, numpy, torch; from harness.machine.environment import blas; print(json.dumps(blas()))"
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert set(json.loads(done.stdout)) == {"numpy", "torch"}

    def test_imports_nothing_for_it(self) -> None:
        script = "from harness.machine.environment import blas; print(blas())"
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert done.stdout == "{}\n"


def test_packages_have_their_versions() -> None:
    found = packages()
    assert all(found[name][0].isdigit() for name in ("numpy", "onnxruntime", "scipy", "torch", "torchmetrics"))


def test_the_environment_is_that_of_the_beginning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A commit that is made while a run goes on is not what ran."""
    happened = []

    class Begun(Exception):
        pass

    def display() -> AbstractContextManager[Listener]:
        happened.append("display")
        raise Begun

    monkeypatch.setattr(run, "fingerprint", lambda root: happened.append(f"environment of {root}"))
    plugins = SimpleNamespace(active=nullcontext)
    prepared = SimpleNamespace(about=SimpleNamespace(root="project"), plugins=plugins)
    with pytest.raises(Begun):
        run.run_scenario(prepared, tmp_path, Store(tmp_path), run.RunOptions(), display)  # type: ignore[arg-type]
    assert happened == ["environment of project", "display"]
