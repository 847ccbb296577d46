"""Real stages through pytest: run once, measured once, and never again what a killed session had finished."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

pytestmark = pytest.mark.slow  # each session imports torch in every worker

TINY = "scenarios/tiny.yaml"
FP32 = "net-fp32-onnxruntime-b1"
MAX = "net-ptq-max-perchannel-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"
ARGUMENTS = (TINY, "--harness-isolation=none", "--harness-out=out")
PATIENCE_S = 900
"""Only against a hang."""
COUNTING = """
import pathlib
import time
from harness.engine import local

HERE = pathlib.Path(__file__).parent
execute = local.execute

def counted(order, context):
    if (HERE / "hang_at").exists() and (HERE / "hang_at").read_text() == order.label:
        (HERE / "hangs").touch()
        time.sleep(3600)
    outcome = execute(order, context)
    with (HERE / "executed").open("a") as file:
        file.write(f"{order.label}\\n")
    return outcome

local.execute = counted
"""


@pytest.fixture
def counted(project: Path, pytester: pytest.Pytester) -> Path:
    """A project that writes down which stages it executes."""
    pytester.makeconftest(COUNTING)
    return project


def executed(project: Path) -> Counter[str]:
    return Counter((project / "executed").read_text().splitlines())


def is_measuring(label: str) -> bool:
    return label.startswith("measure ")


class TestTwoWorkers:
    @pytest.fixture
    def first(self, counted: Path, run_apart) -> Counter[str]:
        run_apart(*ARGUMENTS, "-n", "2").assert_outcomes(passed=3)
        return executed(counted)

    def test_every_stage_is_executed_once(self, first, counted, run_apart) -> None:
        assert set(first.values()) == {1}
        # Weights, one calibration, two quantized networks; three of each later step; one measurement of all three.
        by_stage = Counter(label.split()[0] for label in first)
        assert by_stage["calibrate"] == 1
        assert by_stage["quantize"] == 2
        assert (by_stage["export"], by_stage["build"]) == (3, 3)
        assert [label for label in first if is_measuring(label)] == ["measure net on onnxruntime, batch 1"]

        run_apart(*ARGUMENTS, "-n", "2").assert_outcomes(passed=3)
        assert {label for label, n in (executed(counted) - first).items() if n} == set(filter(is_measuring, first))

    def test_a_killed_session_is_gone_on_with(self, counted, run_apart) -> None:
        (counted / "hang_at").write_text(f"build {MSE}")
        command = [sys.executable, "-m", "pytest", "-p", "harness.pytest_plugin", *ARGUMENTS, "-n", "2"]
        with (counted / "killed.log").open("w") as log:
            session = subprocess.Popen(command, stdout=log, stderr=log, cwd=counted, start_new_session=True)
            deadline = time.monotonic() + PATIENCE_S
            while not (counted / "hangs").exists():
                assert session.poll() is None, (counted / "killed.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(session.pid, signal.SIGKILL)
            session.wait()
        before = executed(counted)
        assert len(before) > 3
        assert f"build {MSE}" not in before

        (counted / "hang_at").unlink()
        run_apart(*ARGUMENTS, "-n", "2").assert_outcomes(passed=3)
        after = executed(counted)
        assert set(after.values()) == {1}
        assert after.keys() > before.keys()


def test_only_what_was_chosen_and_its_fp32_row_are_built(counted, run_apart) -> None:
    result = run_apart(*ARGUMENTS, "-k", "mse", "--benchmark-json=b.json")
    result.assert_outcomes(passed=1, deselected=2)
    assert {label for label in executed(counted) if label.startswith("build")} == {f"build {FP32}", f"build {MSE}"}

    (benchmark,) = json.loads((counted / "b.json").read_text())["benchmarks"]
    rows = json.loads((counted / "out" / "results.json").read_text())["rows"]
    (latency,) = [row["latency"] for row in rows if row["variant"]["id"] == MSE]
    assert benchmark["stats"]["median"] * 1e3 == pytest.approx(latency["median_ms"])
    assert benchmark["stats"]["rounds"] == latency["n"]
    assert median(benchmark["stats"]["data"]) * 1e3 == pytest.approx(latency["median_ms"])
    assert benchmark["extra_info"]["speedup"] == latency["speedup"]


def test_disabled_benchmarks_measure_nothing(counted, run_apart) -> None:
    run_apart(*ARGUMENTS, "-k", "fp32", "--benchmark-disable").assert_outcomes(passed=1, deselected=2)
    assert not any(map(is_measuring, executed(counted)))
