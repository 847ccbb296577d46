"""Memory, energy and the peak memory of stages, as the report shows them."""

import io

import pandas as pd
import pytest

from harness.report import resource_tables, tables
from harness.report.definitions import definitions
from harness.report.flat import csv_text
from harness.report.render import markdown_text
from harness.report.variants import NONE
from harness.results import Cost, Energy, Memory, Row, RunResults

MIB = 1024**2
HOST = Memory(
    baseline_bytes=80 * MIB,
    peak_bytes=92 * MIB,
    increase_bytes=12 * MIB,
    source="VmHWM, reset before",
    inferences=10,
)
COUNTED = Energy(
    joules_per_inference=0.07,
    net_joules_per_inference=0.05,
    spread=0.021,
    idle_w=10.0,
    mean_w=35.0,
    seconds=3.0,
    inferences=1500,
    source="RAPL, package-0, dram",
)
ABSENT = Energy(reason="RAPL counters are readable by root only: sudo chmod a+r FILE")


def with_sections(results: RunResults, **sections: object) -> RunResults:
    """The first row with these sections, the others without."""
    first, *rest = results.rows
    plain = [Row.model_validate(row.model_dump() | {"memory": None, "energy": None}) for row in rest]
    return results.model_copy(update={"rows": (first.model_copy(update=sections), *plain)})


def terms(results: RunResults) -> set[str]:
    return {term for term, _ in definitions(results)}


class TestMemory:
    def test_engine_process_and_library(self, quickstart: RunResults) -> None:
        table = resource_tables.memory_table(with_sections(quickstart, memory=HOST))
        assert table is not None
        assert table.rows == ((quickstart.rows[0].variant.id, "12.0 MiB", "92.0 MiB", "80.0 MiB", NONE, NONE),)
        assert "VmHWM" in table.caption

    def test_of_the_gpu(self, quickstart: RunResults) -> None:
        update = {"device_bytes": 300 * MIB, "device_source": "NVML, this process"}
        table = resource_tables.memory_table(with_sections(quickstart, memory=HOST.model_copy(update=update)))
        assert table is not None
        assert table.rows[0][-2:] == ("300 MiB", "NVML, this process")

    def test_none_measured_none_shown(self, quickstart: RunResults) -> None:
        assert resource_tables.memory_table(quickstart) is None
        assert "Memory" not in terms(quickstart)


class TestEnergy:
    def test_of_one_inference(self, quickstart: RunResults) -> None:
        results = with_sections(quickstart, energy=COUNTED)
        table = resource_tables.energy_table(results)
        assert table is not None
        expected = ("70.0", "50.0", "2.1 %", "35.0", "10.0", "1,500", "RAPL, package-0, dram")
        assert table.rows == ((quickstart.rows[0].variant.id, *expected),)
        assert "Energy" in terms(results)
        assert "## Energy" in markdown_text(results)

    def test_what_is_absent_has_its_reason_once(self, quickstart: RunResults) -> None:
        rows = tuple(row.model_copy(update={"energy": ABSENT}) for row in quickstart.rows)
        table = resource_tables.energy_table(quickstart.model_copy(update={"rows": rows}))
        assert table is not None
        ((names, *figures, source),) = table.rows
        assert names.endswith(f"and {len(rows) - 2} more")
        assert set(figures) == {NONE}
        assert source == "not measured: RAPL counters are readable by root only: sudo chmod a+r FILE"

    def test_not_asked_for_not_shown(self, quickstart: RunResults) -> None:
        assert resource_tables.energy_table(quickstart) is None


class TestCost:
    def test_the_stage_that_took_the_most_memory(self, quickstart: RunResults) -> None:
        cost = Cost(train_s=88.2, peak_bytes={"train": 612 * MIB, "export": 540 * MIB})
        results = with_sections(quickstart, cost=cost)
        table = tables.cost_table(results)
        assert table is not None
        assert table.headings[-1] == "Peak memory"
        assert table.rows[0][-1] == "612 MiB (train)"
        assert table.rows[1][-1] == NONE  # a record from before it was measured
        assert "Cost" in terms(results)


def test_the_flat_file_has_all_of_it(quickstart: RunResults) -> None:
    cost = Cost(train_s=88.2, peak_bytes={"train": 612 * MIB, "export": 540 * MIB})
    flat = pd.read_csv(io.StringIO(csv_text(with_sections(quickstart, memory=HOST, energy=COUNTED, cost=cost))))
    first, second = flat.iloc[0], flat.iloc[1]
    assert first.memory_increase_bytes == 12 * MIB
    assert first.memory_peak_bytes == 92 * MIB
    assert first.joules_per_inference == pytest.approx(0.07)
    assert first.net_joules_per_inference == pytest.approx(0.05)
    assert first.energy_idle_w == pytest.approx(10.0)
    assert first.energy_source == "RAPL, package-0, dram"
    assert first.train_s == pytest.approx(88.2)
    assert first.cost_peak_bytes == 612 * MIB
    assert pd.isna(second.memory_increase_bytes)


def test_weights_without_an_engine_are_not_zero_bytes(quickstart: RunResults) -> None:
    first = quickstart.rows[0]
    assert first.size is not None
    size = first.size.model_copy(update={"engine_bytes": None, "weight_bytes": None})
    text = markdown_text(with_sections(quickstart, size=size))
    assert f"| 311 KiB | {NONE} | {NONE} |" in text
