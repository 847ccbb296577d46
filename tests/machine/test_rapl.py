"""A fake `/sys/class/powercap`, as the kernel lays it out."""

import os
from pathlib import Path

import pytest

from harness.machine.energy import RaplCounter, open_counter
from harness.machine.rapl import RaplUnavailable, find_zones

RANGE_UJ = 262_143_328_850


def zone(powercap: Path, folder: str, name: str, energy_uj: int = 0) -> Path:
    place = powercap / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


def test_packages_and_memory_are_added_and_parts_are_not(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 2_000_000)
    platform = zone(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    repeated = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)
    counter = open_counter("cpu", tmp_path)
    assert counter.source == "RAPL, package-0, dram"
    for file in (package, core, dram, platform, repeated):
        file.write_text(str(int(file.read_text()) + 3_000_000))
    # 3 J of the package and 3 J of its memory; core is part of the package, psys contains it, mmio repeats it.
    assert counter.joules() == pytest.approx(6.0)


def test_two_sockets(tmp_path: Path) -> None:
    files = [zone(tmp_path, f"intel-rapl:{number}", f"package-{number}") for number in range(2)]
    counter = RaplCounter(find_zones(tmp_path))
    for file, joules in zip(files, (1.5, 2.25), strict=True):
        file.write_text(str(round(joules * 1e6)))
    assert counter.joules() == pytest.approx(3.75)


def test_the_counter_may_turn_over(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 2_000_000)
    counter = RaplCounter(find_zones(tmp_path))
    file.write_text("1000000")
    assert counter.joules() == pytest.approx(3.0)  # 2 J to the end and 1 J from the start
    file.write_text("4000000")
    assert counter.joules() == pytest.approx(6.0)


@pytest.mark.parametrize("folders", [[], ["dtpm"]])
def test_machines_without_counters_say_so(tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(RaplUnavailable, match="shows no RAPL counters"):
        find_zones(tmp_path)
    with pytest.raises(RaplUnavailable, match="shows no RAPL counters"):
        find_zones(tmp_path / "absent")


def test_counters_for_root_only_come_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0")
    file.chmod(0o400)
    if os.access(file, os.R_OK):  # we own it, or are root: the kernel's answer to others is put in its place
        original = Path.read_text

        def refused(path: Path, *arguments: str, **options: str) -> str:
            if path == file:
                raise PermissionError(13, "Permission denied")
            return original(path, *arguments, **options)

        monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(RaplUnavailable, match="readable by root only") as error:
        find_zones(tmp_path)
    assert error.value.fix == "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


def test_nonsense_in_a_counter_is_told(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0").write_text("")
    with pytest.raises(RaplUnavailable, match="cannot be read"):
        find_zones(tmp_path)
