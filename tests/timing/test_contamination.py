"""What else the machine did, read from trees that look like Linux's."""

from types import SimpleNamespace

import pytest
from oracles import nvml_double

from harness.timing import process
from harness.timing.contamination import ContaminationMonitor, Paths, gpu_signals, host_signals

TICKS = 100
"""Clock ticks per second, on every Linux that matters."""


class Machine:
    """Files under a folder, with short ways to change them."""

    def __init__(self, folder):
        self.paths = Paths(folder / "proc", folder / "cpu")
        self.task = folder / "proc" / "self" / "task" / "1"
        self.core = folder / "cpu" / "cpu0"
        for path in (self.task, self.core / "cpufreq", self.core / "thermal_throttle"):
            path.mkdir(parents=True)
        self.waited(0.0)
        self.stat()
        self.clock(2_000_000)
        self.throttled(0)

    def waited(self, seconds):
        (self.task / "schedstat").write_text(f"123456789 {int(seconds * 1e9)} 42\n")

    def stat(self, user_s=0.0, steal_s=0.0):
        ticks = [int(user_s * TICKS), 0, 0, 0, 0, 0, 0, int(steal_s * TICKS), 0, 0]
        (self.paths.proc / "stat").write_text(f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n")

    def clock(self, kilohertz):
        (self.core / "cpufreq" / "scaling_cur_freq").write_text(f"{kilohertz}\n")

    def throttled(self, count):
        (self.core / "thermal_throttle" / "core_throttle_count").write_text(f"{count}\n")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.timing.contamination.time.perf_counter", iter([float(n) for n in range(99)]).__next__)
    monkeypatch.setattr("harness.timing.contamination.time.process_time", lambda: 0.0)
    monkeypatch.setattr("harness.timing.contamination._tick_s", lambda: 1 / TICKS)
    return Machine(tmp_path)


def test_a_quiet_round_has_no_label(machine):
    watch = ContaminationMonitor(host_signals(machine.paths))
    assert watch.signals == ("waited", "load", "stolen", "clock", "throttled")
    watch.start()
    assert watch.stop() == ()


# Every round lasts one second of the false clock.
@pytest.mark.parametrize(
    ("change", "labels"),
    [
        (lambda machine: machine.waited(0.021), ("waited",)),
        (lambda machine: machine.waited(0.019), ()),
        (lambda machine: machine.stat(user_s=0.28), ("load",)),  # more than 0.25 cores and the two ticks of rounding
        (lambda machine: machine.stat(user_s=0.26), ()),
        (lambda machine: machine.stat(steal_s=0.01), ("stolen",)),
        (lambda machine: machine.throttled(1), ("throttled",)),
        (lambda machine: (machine.waited(0.5), machine.stat(user_s=0.5)), ("waited", "load")),
    ],
)
def test_labels(machine, change, labels):
    watch = ContaminationMonitor(host_signals(machine.paths))
    watch.start()
    change(machine)
    assert watch.stop() == labels


def test_the_clock_is_compared_with_the_first_round(machine):
    watch = ContaminationMonitor(host_signals(machine.paths))
    found = []
    for kilohertz in (2_000_000, 1_920_000, 1_880_000, 2_120_000):  # 0, -4, -6, +6 %
        watch.start()
        machine.clock(kilohertz)
        found.append(watch.stop())
    assert found == [(), (), ("clock",), ("clock",)]


def test_what_cannot_be_read_is_not_watched(machine):
    (machine.core / "cpufreq" / "scaling_cur_freq").unlink()
    (machine.core / "thermal_throttle" / "core_throttle_count").unlink()
    (machine.task / "schedstat").write_text("nonsense")
    assert ContaminationMonitor(host_signals(machine.paths)).signals == ("load", "stolen")


def test_a_signal_that_goes_away_ends_nothing(machine):
    watch = ContaminationMonitor(host_signals(machine.paths))
    watch.start()
    (machine.paths.proc / "stat").unlink()
    assert watch.stop() == ()


class TestGpu:
    @staticmethod
    def nvml(processes, reasons):
        return SimpleNamespace(
            NVMLError=RuntimeError,
            nvmlClocksEventReasonGpuIdle=1,
            nvmlClocksEventReasonApplicationsClocksSetting=2,
            nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=each) for each in processes],
            nvmlDeviceGetCurrentClocksEventReasons=lambda _: reasons,
        )

    @pytest.mark.parametrize(
        ("processes", "reasons", "labels"),
        [
            ([], 0, ()),
            ([7], 1, ()),  # this process, by whatever number; idle clocks
            ([7, 8], 2, ("gpu_shared",)),
            ([7], 4, ("gpu_throttled",)),  # software power cap
        ],
    )
    def test_labels(self, processes, reasons, labels):
        watch = ContaminationMonitor(gpu_signals(self.nvml(processes, reasons), object()))
        watch.start()
        assert watch.stop() == labels

    def test_it_is_the_gpu_that_cuda_uses(self, monkeypatch):
        fake = nvml_double.install(monkeypatch, gpus=4)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
        monkeypatch.setattr(fake, "nvmlClocksEventReasonGpuIdle", 1, raising=False)
        monkeypatch.setattr(fake, "nvmlClocksEventReasonApplicationsClocksSetting", 2, raising=False)
        watch = ContaminationMonitor(process._gpu_signals()[:1])
        watch.start()
        assert watch.stop() == ("gpu_shared",)  # the double has two processes
        assert fake.asked == [2]

    def test_a_driver_that_refuses_is_not_watched(self):
        def refuse(handle):
            raise RuntimeError("not supported")

        nvml = self.nvml([], 0)
        nvml.nvmlDeviceGetCurrentClocksEventReasons = refuse
        assert ContaminationMonitor(gpu_signals(nvml, object())).signals == ("gpu_shared",)
