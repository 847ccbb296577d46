import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from harness import hardware
from harness.execution.environment import fingerprint, git_state, gpus, packages
from harness.hardware import CPU_FLAGS, cpu_flags, quota_cores, usable_cores

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
        script = "import sys; from harness.execution.environment import fingerprint; fingerprint(); "
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


class TestGpus:
    def test_are_named_as_nvidia_smi_does(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path, "nvidia-smi", "echo 'NVIDIA L4, 550.54.15, 23034 MiB, 8.9'")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert gpus() == [
            {"name": "NVIDIA L4", "driver_version": "550.54.15", "memory_total": "23034 MiB", "compute_cap": "8.9"}
        ]

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


def test_packages_have_their_versions() -> None:
    assert packages()["numpy"][0].isdigit()
