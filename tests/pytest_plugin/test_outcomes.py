"""What the test of a variant says: passed, skipped with the reason, or failed with figures and artifacts."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from oracles.comparisons import dropped, interval
from oracles.scripted_runs import journal, write_script

from harness.results import Accuracy

TINY = "scenarios/tiny.yaml"
FP32 = "net-fp32-onnxruntime-b1"
MAX = "net-ptq-max-perchannel-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"
ACCURACY = Accuracy(
    top1=0.8125,
    n=80,
    top1_interval=interval(0.71, 0.88),
    comparison=dropped(0.8125, 0.0625, (0.01, 0.12)),
).plain()


def gate(verdict: str, variant: str = MAX, **fields: object) -> dict[str, object]:
    return {"variant": variant, "metric": "accuracy.drop", "limit": "at most 0.01", "verdict": verdict, **fields}


class TestUnavailable:
    def test_a_missing_toolkit_skips_with_the_reason_at_the_matrix(self, scripted, run, monkeypatch) -> None:
        from harness.targets.base import Availability
        from harness.toolkits import get_toolkit

        path = scripted / TINY
        path.write_text(path.read_text().replace("  calibrator:", "  toolkit: [harness, nncf]\n  calibrator:"))
        absent = Availability(usable=False, detail="nncf is not installed", fix="pip install nncf")
        monkeypatch.setattr(type(get_toolkit("nncf")), "availability", lambda _: absent)
        result = run(TINY, "-rs")
        result.assert_outcomes(passed=3, skipped=2)
        line = path.read_text().splitlines().index("matrix:") + 1
        result.stdout.fnmatch_lines([f"SKIPPED [[]2[]] {TINY}:{line}: nncf is not installed; fix: pip install nncf"])

    def test_so_does_a_row_that_the_run_found_unavailable(self, scripted, run) -> None:
        write_script(scripted, rows={MSE: {"status": "unavailable", "reason": "mse cannot override tensors"}})
        result = run(TINY, "-rs")
        result.assert_outcomes(passed=2, skipped=1)
        result.stdout.fnmatch_lines([f"SKIPPED [[]1[]] {TINY}:*: mse cannot override tensors"])


class TestFailure:
    def test_a_failed_variant_says_why_and_where_its_files_are(self, scripted, run) -> None:
        row = {"status": "failed", "reason": "build: node `conv` has no kernel", "files": {"onnx": "models/a.onnx"}}
        write_script(scripted, rows={MAX: row})
        result = run(TINY)
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(
            [f"*{MAX} failed: build: node `conv` has no kernel", "*report: */report.html", "*onnx: */models/a.onnx"]
        )
        result.stdout.no_fnmatch_line("*pytest_plugin/*.py:*")

    def test_a_failed_gate_shows_value_interval_limit_and_artifacts(self, scripted, run) -> None:
        write_script(
            scripted,
            rows={MAX: {"accuracy": ACCURACY, "files": {"engine": "engines/a.onnx", "onnx": "models/a.onnx"}}},
            gates=[gate("fail", value=0.0625, interval=interval(0.01, 0.12).plain()), gate("pass", MSE, value=0.0)],
        )
        result = run(TINY)
        result.assert_outcomes(passed=2, failed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        message = next(line for line in result.outlines if "accuracy.drop" in line)
        for part in ("0.0625", "0.01 to 0.12", "at most 0.01", MAX):
            assert part in message
        result.stdout.fnmatch_lines(["*report: */report.html", "*engine: */engines/a.onnx"])
        result.stdout.fnmatch_lines([f"FAILED {TINY}::{MAX} - Failed: *"])

    def test_every_failed_gate_of_a_variant_is_named(self, scripted, run) -> None:
        write_script(scripted, gates=[gate("fail", value=0.1), gate("fail", value=0.5, metric="size.engine_bytes")])
        result = run(TINY)
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(["*accuracy.drop*0.1*", "*size.engine_bytes*0.5*"])

    def test_what_cannot_be_started_is_an_error_of_each_test(self, scripted, run) -> None:
        write_script(scripted, refusal="the data are not there")
        result = run(TINY)
        result.assert_outcomes(errors=3)
        assert len(journal(scripted)) == 1  # and is found out once
        result.stdout.fnmatch_lines(["*the data are not there", "*fix: as the script says"])
        result.stdout.no_fnmatch_line("*Traceback*")

    def test_a_bug_is_one_message_for_each_test_with_a_log(self, scripted, run) -> None:
        write_script(scripted, gates=[{"no": "gate"}])
        result = run(TINY)
        result.assert_outcomes(errors=3)
        assert len(journal(scripted)) == 1
        result.stdout.fnmatch_lines(
            ["*tiny could not be run: unexpected error: ValidationError: *", "*log: *error-*.log"]
        )
        result.stdout.no_fnmatch_line("*Traceback*")

    def test_last_failed_runs_it_again_and_nothing_else(self, scripted, run) -> None:
        write_script(scripted, rows={MAX: {"status": "failed", "reason": "x"}})
        run(TINY).assert_outcomes(passed=2, failed=1)
        write_script(scripted)
        run(TINY, "--lf").assert_outcomes(passed=1, deselected=2)
        assert [entry["chosen"] for entry in journal(scripted)] == [[FP32, MAX, MSE], [MAX]]

    def test_exitfirst_stops_at_it(self, scripted, run) -> None:
        write_script(scripted, rows={FP32: {"status": "failed", "reason": "x"}})
        run(TINY, "-x").assert_outcomes(failed=1)


class TestInconclusive:
    SCRIPT = staticmethod(lambda: [gate("inconclusive", value=0.005, interval=interval(-0.01, 0.02).plain())])

    def test_it_passes_and_the_summary_says_why_it_is_open(self, scripted, run) -> None:
        write_script(scripted, gates=self.SCRIPT())
        result = run(TINY)
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines([f"gate inconclusive: {MAX}: accuracy.drop is 0.005 (-0.01 to 0.02)*"])

    def test_it_fails_when_strict(self, scripted, run) -> None:
        write_script(scripted, gates=self.SCRIPT())
        result = run(TINY, "--harness-strict")
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(["*inconclusive*accuracy.drop*-0.01 to 0.02*"])

    def test_the_ini_file_can_say_so(self, scripted, run, pytester) -> None:
        pytester.makeini("[pytest]\nharness_strict = true\n")
        write_script(scripted, gates=self.SCRIPT())
        run(TINY).assert_outcomes(passed=2, failed=1)


@pytest.mark.parametrize("status", ["built", "simulated"])
def test_what_is_only_built_or_simulated_passes_on_what_is_known(scripted, run, status) -> None:
    write_script(scripted, rows={MSE: {"status": status, "reason": "there is no GPU here"}})
    result = run(TINY)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"{MSE} *{status}*"])


class TestReports:
    def test_junit_has_the_figures_as_properties(self, scripted, run) -> None:
        write_script(
            scripted,
            rows={MAX: {"accuracy": ACCURACY, "metrics": {"agreement": figure(0.75)}}},
            gates=[gate("fail", value=0.0625)],
            latency_ms={MAX: [1.0, 2.0, 4.0]},
        )
        run(TINY, "--junitxml=junit.xml")
        cases = {case.get("name"): case for case in ET.parse("junit.xml").iter("testcase")}
        assert set(cases) == {FP32, MAX, MSE}
        found = {item.get("name"): item.get("value") for item in cases[MAX].iter("property")}
        assert found["status"] == "ok"
        assert found["accuracy.top1"] == "0.8125"
        assert (found["accuracy.drop.low"], found["accuracy.drop.high"]) == ("0.01", "0.12")
        assert found["latency.median_ms"] == "2"
        assert found["metrics.agreement"] == "0.75"
        assert found["gate.accuracy.drop"] == "fail: at most 0.01"
        failure = cases[MAX].find("failure")
        assert failure is not None
        assert "at most 0.01" in str(failure.get("message"))

    def test_the_summary_has_a_line_for_each_variant_and_the_report(self, scripted, run) -> None:
        write_script(scripted, rows={MAX: {"accuracy": ACCURACY}}, gates=[gate("pass", value=0.0)])
        result = run(TINY)
        result.stdout.fnmatch_lines(
            [
                "*quantization scenarios*",
                "variant *",
                f"{FP32} *ok*",
                f"{MAX} *81.25 %*pass (1/1)",
                "report: */report.html",
            ]
        )

    def test_the_summary_tells_of_a_gate_that_judged_no_variant(self, scripted, run) -> None:
        write_script(scripted, gates=[gate("inconclusive", "(none)", value=None, reason="no variant fits")])
        result = run(TINY)
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["gate inconclusive: (none): accuracy.drop must be at most 0.01; no variant fits"])

    def test_a_quiet_summary_is_the_report_alone(self, scripted, run) -> None:
        result = run(TINY, "-q")
        result.stdout.fnmatch_lines(["report: */report.html"])
        result.stdout.no_fnmatch_line("variant *status*")

    def test_a_session_without_scenarios_has_no_summary(self, scripted, run, pytester) -> None:
        pytester.makepyfile(test_it="def test_it(): pass")
        run().stdout.no_fnmatch_line("*quantization scenarios*")

    def test_the_run_is_written_where_it_was_asked_for(self, scripted, run) -> None:
        run(TINY, "--harness-out", "out").assert_outcomes(passed=3)
        assert json.loads((scripted / "out" / "results.json").read_text())["scenario"] == "tiny"

    def test_a_second_session_replaces_the_run_and_nothing_else(self, scripted, run, pytester) -> None:
        pytester.makeini("[pytest]\nharness_out = out\n")
        run(TINY).assert_outcomes(passed=3)
        (scripted / "out" / "notes.txt").write_text("mine")
        (scripted / "out" / "samples" / "stale.parquet").write_text("")
        run(TINY, "-k", "mse").assert_outcomes(passed=1, deselected=2)
        rows = json.loads((scripted / "out" / "results.json").read_text())["rows"]
        assert [row["variant"]["id"] for row in rows] == [FP32, MSE]
        assert not (scripted / "out" / "samples" / "stale.parquet").exists()
        assert (scripted / "out" / "notes.txt").read_text() == "mine"

    def test_two_scenarios_have_a_folder_each(self, scripted, run) -> None:
        add_scenario(scripted, "second")
        run(TINY, "scenarios/second.yaml", "--harness-out", "out").assert_outcomes(passed=6)
        assert (scripted / "out" / "tiny" / "results.json").exists()
        assert (scripted / "out" / "second" / "results.json").exists()

    def test_two_scenarios_of_one_name_do_not_share_a_folder(self, scripted, run) -> None:
        add_scenario(scripted, "tiny", file="copy.yaml")
        result = run(TINY, "scenarios/copy.yaml", "--harness-out", "out")
        result.assert_outcomes(passed=3, errors=3)
        result.stdout.fnmatch_lines(["*two scenarios are named `tiny`*"])


def figure(value: float) -> dict[str, object]:
    return {"value": value, "unit": "share", "higher_is_better": True}


def add_scenario(project: Path, name: str, file: str | None = None) -> None:
    text = (project / TINY).read_text().replace("name: tiny", f"name: {name}")
    (project / "scenarios" / (file or f"{name}.yaml")).write_text(text)
