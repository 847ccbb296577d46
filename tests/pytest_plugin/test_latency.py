"""Timed inferences in pytest-benchmark: the figures are those of the engine, and its options work on them."""

import json
from pathlib import Path
from statistics import mean, median

import pytest
from oracles.scripted_runs import write_script

TINY = "scenarios/tiny.yaml"
FP32 = "net-fp32-onnxruntime-b1"
MAX = "net-ptq-max-perchannel-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"
TIMES_MS = {FP32: [2.0, 2.25, 2.1, 7.0], MAX: [1.0, 1.125, 3.0], MSE: [0.5, 0.5]}


@pytest.fixture(autouse=True)
def _timed(scripted: Path) -> None:
    write_script(scripted, latency_ms=TIMES_MS)


def benchmarks(path: Path) -> dict[str, dict]:
    return {each["name"]: each for each in json.loads(path.read_text())["benchmarks"]}


class TestJson:
    def test_it_holds_every_timed_inference_of_the_engine(self, run, scripted) -> None:
        run(TINY, "--benchmark-json=b.json").assert_outcomes(passed=3)
        found = benchmarks(scripted / "b.json")
        assert set(found) == set(TIMES_MS)
        for name, times in TIMES_MS.items():
            stats = found[name]["stats"]
            assert stats["data"] == [ms / 1e3 for ms in times]
            assert (stats["rounds"], stats["iterations"]) == (len(times), 1)
            assert stats["median"] == pytest.approx(median(times) / 1e3)
            assert stats["mean"] == pytest.approx(mean(times) / 1e3)

    def test_it_names_the_clock_and_the_group(self, run, scripted) -> None:
        run(TINY, "--benchmark-json=b.json")
        found = benchmarks(scripted / "b.json")[MAX]
        assert found["fullname"] == f"{TINY}::{MAX}"
        assert found["options"]["timer"] == "interleaved_inferences"
        assert found["group"] == "net on onnxruntime, batch 1"

    def test_the_judgement_is_its_extra_information(self, run, scripted) -> None:
        run(TINY, "--benchmark-json=b.json")
        extra = benchmarks(scripted / "b.json")[MAX]["extra_info"]
        assert extra["speedup"] == 2.0
        assert extra["speedup_interval"] == pytest.approx({"low": 1.9, "high": 2.1, "confidence": 0.95})
        assert extra["verdict"] == "better"
        assert extra["scenario"] == "tiny"


class TestOptions:
    def test_compare_finds_the_earlier_figures(self, run, scripted) -> None:
        run(TINY, "--benchmark-save=first").assert_outcomes(passed=3)
        slower = TIMES_MS | {MAX: [ms * 1.5 for ms in TIMES_MS[MAX]]}
        write_script(scripted, latency_ms=slower)
        result = run(TINY, "--benchmark-compare", "--benchmark-compare-fail=median:10%")
        result.stdout.fnmatch_lines(["*NOW*"])
        result.stderr.fnmatch_lines(["*Performance has regressed*"])
        regressed = [line for line in result.errlines if "median" in line and "50.00" in line]
        assert [MAX in line for line in regressed] == [True]

    def test_disable_measures_nothing_and_tests_the_rest(self, run, scripted) -> None:
        result = run(TINY, "--benchmark-disable", "--benchmark-json=b.json")
        result.assert_outcomes(passed=3)
        assert not (scripted / "b.json").exists()

    def test_skip_skips(self, run) -> None:
        run(TINY, "--benchmark-skip").assert_outcomes(skipped=3)

    def test_only_keeps_them(self, run, pytester) -> None:
        pytester.makepyfile(test_it="def test_it(): pass")
        run(TINY, "test_it.py", "--benchmark-only").assert_outcomes(passed=3, skipped=1)

    def test_histogram_draws_the_group(self, run, scripted) -> None:
        pytest.importorskip("pygal")
        run(TINY, "--benchmark-histogram=h").assert_outcomes(passed=3)
        assert list(scripted.glob("h*.svg")) != []


class TestAbsent:
    def test_a_variant_without_latency_is_no_benchmark_and_no_warning(self, run, scripted) -> None:
        times = {name: ms for name, ms in TIMES_MS.items() if name != MSE}
        write_script(scripted, latency_ms=times, rows={MSE: {"status": "built", "reason": "no GPU"}})
        result = run(TINY, "--benchmark-json=b.json", "-W", "error")
        result.assert_outcomes(passed=3)
        assert set(benchmarks(scripted / "b.json")) == {FP32, MAX}

    def test_a_scenario_without_latency_has_no_benchmarks(self, run, scripted) -> None:
        path = scripted / TINY
        path.write_text(path.read_text().replace("measurement:\n", "measurement:\n  latency: false\n"))
        write_script(scripted)
        run(TINY, "--benchmark-only").assert_outcomes(skipped=3)
        run(TINY, "--benchmark-skip").assert_outcomes(passed=3)

    def test_the_plugin_works_without_pytest_benchmark(self, run) -> None:
        run(TINY, "-p", "no:benchmark").assert_outcomes(passed=3)
