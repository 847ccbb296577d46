from pathlib import Path

import numpy as np
import pytest

from harness.machine.host_memory import PROCESS_PEAK, RESET_PEAK, PeakMemory, release_free_memory

MIB = 1024**2
STATUS = "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  {peak} kB\nVmRSS:\t  {now} kB\n"


class TestFakeProc:
    def test_the_peak_is_reset_and_read(self, tmp_path: Path) -> None:
        (tmp_path / "status").write_text(STATUS.format(peak=120_000, now=100_000))
        memory = PeakMemory(tmp_path)
        assert (tmp_path / "clear_refs").read_text() == "5"  # proc(5): sets VmHWM to the present value
        (tmp_path / "status").write_text(STATUS.format(peak=150_000, now=110_000))
        found = memory.read()
        assert found.baseline_bytes == 100_000 * 1024
        assert found.peak_bytes == 150_000 * 1024
        assert found.increase_bytes == 50_000 * 1024
        assert found.source == RESET_PEAK

    def test_where_it_cannot_be_reset_the_process_has_one_peak(self, tmp_path: Path) -> None:
        (tmp_path / "clear_refs").mkdir()  # opening it fails
        (tmp_path / "status").write_text(STATUS.format(peak=120_000, now=40))
        found = PeakMemory(tmp_path).read()
        assert found.source == PROCESS_PEAK
        assert found.baseline_bytes == 40 * 1024
        assert found.peak_bytes > 10 * MIB  # of this test process, from getrusage

    def test_without_proc_nothing_fails(self, tmp_path: Path) -> None:
        found = PeakMemory(tmp_path / "absent").read()
        assert found.source == PROCESS_PEAK
        assert found.baseline_bytes == found.peak_bytes  # no baseline is known: nothing is claimed to be an increase
        assert found.increase_bytes == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
class TestThisProcess:
    def test_what_was_taken_and_freed_is_in_the_peak(self) -> None:
        release_free_memory()
        memory = PeakMemory()
        block = np.ones(64 * MIB, np.uint8)
        del block
        assert 60 * MIB < memory.read().increase_bytes < 80 * MIB

    def test_a_peak_before_does_not_count(self) -> None:
        block = np.ones(64 * MIB, np.uint8)
        del block
        found = PeakMemory().read()
        if found.source != RESET_PEAK:
            pytest.skip("this system does not let the peak be reset")
        assert found.increase_bytes < 8 * MIB
