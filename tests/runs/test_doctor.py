"""What the diagnosis says of measuring, on fake trees."""

from pathlib import Path

import pytest
from oracles import nvml_double

from harness.machine import energy, hardware
from harness.machine.rapl import RaplUnavailable
from harness.runs import doctor
from harness.runs.doctor import DoctorCheck, measuring_findings
from harness.targets.tensorrt.gpu import TensorRtGpu


def findings() -> dict[str, DoctorCheck]:
    return {finding.what: finding for finding in measuring_findings()}


@pytest.mark.parametrize(("text", "ok"), [("performance", True), ("powersave", False)])
def test_the_governor_and_how_to_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, ok: bool
) -> None:
    (tmp_path / "scaling_governor").write_text(f"{text}\n")
    monkeypatch.setattr(hardware, "_CPUFREQ", tmp_path)
    found = findings()["CPU governor"]
    assert (found.found, found.ok) == (text, ok)
    assert found.fix == "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


def test_a_machine_without_governor_has_nothing_to_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_CPUFREQ", tmp_path / "absent")
    assert findings()["CPU governor"].ok


def test_counters_that_only_root_reads_come_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_folder: Path) -> None:
        raise RaplUnavailable("RAPL counters are readable by root only", fix="sudo chmod a+r FILE")

    monkeypatch.setattr(energy, "find_zones", refuse)
    found = findings()["energy of the CPU"]
    assert (found.found, found.ok, found.fix) == (
        "RAPL counters are readable by root only",
        False,
        "sudo chmod a+r FILE",
    )
    assert not found.required


def test_the_gpu_is_told_of_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_gpu", lambda: None)
    assert "energy of the GPU" not in findings()
    monkeypatch.setattr(doctor, "find_gpu", lambda: TensorRtGpu("NVIDIA L4", "SM89"))
    nvml_double.install(monkeypatch)
    assert findings()["energy of the GPU"].ok


def test_how_the_peak_of_memory_is_read() -> None:
    assert findings()["peak memory"].found.startswith(("VmHWM", "ru_maxrss"))
