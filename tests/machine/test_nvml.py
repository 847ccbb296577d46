import sys
from types import SimpleNamespace

import pytest
from oracles import nvml_double

from harness.machine.energy import open_counter, why_not
from harness.machine.nvml import NvmlGpu, NvmlUnavailable


def test_memory_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml_double.install(monkeypatch)
    assert NvmlGpu().memory() == (300, True)


@pytest.mark.parametrize("own", [None, "other pid"])
def test_memory_of_the_device_where_the_driver_does_not_say_whose(
    monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    fake = nvml_double.install(monkeypatch)
    if own is None:  # NVML's "not available"
        fake.processes[1].usedGpuMemory = None
    else:  # the process ids of the host, in a container
        fake.processes = [SimpleNamespace(pid=-1, usedGpuMemory=300)]
    assert NvmlGpu().memory() == (1000, False)


def test_joules_are_counted_from_when_one_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = nvml_double.install(monkeypatch)
    fake.millijoules = [5_000.0, 5_000.0, 12_500.0]
    counter = open_counter("gpu")
    assert counter.source == "NVML, the whole GPU"
    before = counter.joules()
    assert counter.joules() - before == pytest.approx(7.5)  # (12,500 - 5,000) mJ


@pytest.mark.parametrize(("named", "asked"), [("", 0), ("2,3", 2), ("GPU-8f6a", "GPU-8f6a")])
def test_the_gpu_is_the_one_that_cuda_uses(monkeypatch: pytest.MonkeyPatch, named: str, asked: int | str) -> None:
    fake = nvml_double.install(monkeypatch, gpus=4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    NvmlGpu()
    assert fake.asked == [asked]


def test_what_is_missing_is_told_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml_double.install(monkeypatch, gpus=0)
    with pytest.raises(NvmlUnavailable, match="Driver Not Loaded"):
        NvmlGpu()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.delitem(sys.modules, "pynvml")
    assert why_not("gpu") == "the package `nvidia-ml-py` is not installed: pip install nvidia-ml-py"


def test_a_gpu_that_counts_no_energy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml_double.install(monkeypatch).counts_energy = False
    assert why_not("gpu") == "this GPU does not count its energy: Not Supported"
