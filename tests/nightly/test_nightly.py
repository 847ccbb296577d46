"""`harness nightly`: run, history, gates, comparison, report; one exit code, messages that name variant and cause."""

import json
import math
import re

import pytest
from oracles.recorded_runs import FP32, PTQ, QAT, right
from typer.testing import CliRunner

from harness.cli import app
from harness.history.database import entries
from harness.report.variants import NONE
from harness.results import Gate
from harness.words.phrases import TIMES


def first(nights):
    result = nights.nightly("--first")
    assert result.exit_code == 0, result.output
    return result


def test_the_first_run_saves_a_baseline_to_commit(nights):
    assert "baseline saved, commit it: " in first(nights).output
    (path,) = (nights.root / "baselines").glob("*/tiny.json")
    assert json.loads(path.read_text())["scenario"] == "tiny"


def test_without_a_baseline_only_gates_are_judged_and_a_message_says_so(nights):
    result = nights.nightly()
    assert result.exit_code == 0
    assert "no baseline of tiny for this machine" in result.output
    assert not (nights.root / "baselines").exists()
    assert nights.nightly("--strict").exit_code == 4


def test_every_run_offers_its_own_figures_as_baseline(nights):
    nights.nightly()
    assert len(list((nights.root / "reports" / "nightly-001" / "baselines").glob("*/tiny.json"))) == 1


@pytest.mark.slow
def test_unchanged_runs_raise_no_alarm_and_are_all_in_the_history(nights):
    first(nights)
    for number in range(20):
        noise = 0.004 * math.sin(12.9898 * number)  # within the interval of ± 1 %
        result = nights.nightly(speedup=1.5 * math.exp(noise))
        assert result.exit_code == 0, result.output
        assert "regression" not in result.output.replace("No regression", "")
        assert "lasting step" not in result.output
    assert len({each.run.key for each in entries(nights.root / "reports" / "history.sqlite")}) == 21


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("finding", "words"),
    [
        ({"correct": right(lost=60)}, "top-1 fell by 6.00 points"),
        ({"speedup": 1.5 / 1.1}, "slower by 10.0 %"),
        ({"float_weights": ("layer1.conv",)}, "size.weight_bytes rose"),
        ({"floats": {"layer1.conv": "it is in the skip set"}}, "INT8 coverage fell by 70.00 points"),
        ({"status": "failed", "reason": "out of memory"}, f"{PTQ} is failed, before ok: out of memory"),
        ({"extra": {"variant_id": QAT, "status": "failed", "reason": "no such kernel"}}, f"{QAT} is new and failed"),
    ],
    ids=["accuracy", "latency", "size", "coverage", "failing", "new and failing"],
)
def test_a_regression_is_exit_code_1_with_variant_and_change(nights, finding, words):
    first(nights)
    result = nights.nightly(**finding)
    assert result.exit_code == 1, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("regression: ") and words in line]
    assert lines, result.output
    assert PTQ in lines[0] or QAT in lines[0]
    report = (nights.root / "reports" / "nightly-002" / "nightly.md").read_text()
    assert words.split(":")[0].replace("_", "\\_") in report or words in report


def test_a_scenario_that_vanished_is_a_regression(nights):
    nights.add("other")
    first(nights)
    nights.remove("other")
    result = nights.nightly()
    assert result.exit_code == 1
    assert "regression: scenario other vanished" in result.output


def test_a_scenario_that_was_not_asked_for_has_not_vanished(nights):
    nights.add("other")
    first(nights)
    assert nights.nightly("scenarios/tiny.yaml").exit_code == 0


@pytest.mark.slow
def test_variants_of_one_name_in_two_scenarios_are_told_apart(nights):
    nights.add("other")
    first(nights)
    output = nights.nightly(status="failed", reason="out of memory").output
    for name in ("tiny", "other"):
        assert f"regression: {name}, {PTQ} is failed, before ok: out of memory" in output
    assert output.count("out of memory") == 2  # each told once
    assert f"regression: other, {PTQ}: slower by 10.0 %" in nights.nightly(speedup=1.5 / 1.1).output
    report = (nights.root / "reports" / "nightly-003" / "nightly.md").read_text()
    assert f"| worse | other, {PTQ} |" in report


def test_a_variant_that_failed_in_the_baseline_already_is_exit_code_3_or_1_and_never_0(nights):
    nights.nightly("--first", status="failed", reason="out of memory")
    result = nights.nightly(status="failed", reason="out of memory")
    assert result.exit_code == 3
    assert f"failed: {PTQ}: out of memory" in result.output


def test_a_broken_gate_is_exit_code_1(nights):
    first(nights)
    gate = Gate(variant=PTQ, metric="accuracy.drop", limit="at most 0.01", value=0.05, verdict="fail")
    result = nights.nightly(gates=[gate])
    assert result.exit_code == 1
    assert PTQ in result.output and "accuracy.drop" in result.output


@pytest.mark.slow
def test_a_step_that_lasts_is_reported_with_its_run(nights):
    for number in range(6):
        nights.nightly(engine_bytes=1400 if number < 5 else 2000)
    assert "lasting step, worse: tiny, " + PTQ in nights.nightly(engine_bytes=2000).output
    assert "size.engine_bytes rose by 42.9 %" in nights.nightly(engine_bytes=2000).output


def test_a_nightly_run_can_be_compared_and_accepted_as_it_lies(nights):
    first(nights)
    nights.nightly(engine_bytes=2000)
    folder = "reports/nightly-002"
    runner = CliRunner()
    assert runner.invoke(app, ["compare", "baselines", folder]).exit_code == 1
    assert runner.invoke(app, ["baseline", "save", folder]).exit_code == 0
    assert runner.invoke(app, ["compare", "baselines", folder]).exit_code == 0
    assert nights.nightly(engine_bytes=2000).exit_code == 0


def test_a_damaged_baseline_is_bad_input_before_anything_runs(nights):
    first(nights)
    (path,) = (nights.root / "baselines").glob("*/tiny.json")
    path.write_text("{", encoding="utf-8")
    result = nights.nightly()
    assert result.exit_code != 0
    assert "is not a baseline" in str(result.exception)
    assert not (nights.root / "reports" / "nightly-002").exists()


def test_a_history_that_cannot_be_used_is_bad_input_before_anything_runs(nights):
    first(nights)
    (nights.root / "reports" / "history.sqlite").write_text("not a database, and longer than its header" * 9)
    assert "cannot use the history" in str(nights.nightly().exception)
    assert not (nights.root / "reports" / "nightly-002").exists()


def test_a_folder_without_scenarios_and_an_out_that_is_taken_are_bad_input(nights):
    (nights.root / "empty").mkdir()
    assert "holds no scenario" in str(nights.nightly("empty").exception)
    first(nights)
    nights.number -= 1
    assert "is not an empty folder" in str(nights.nightly().exception)


def test_the_report_and_the_page_of_the_history_are_there(nights):
    first(nights)
    nights.nightly()
    out = nights.root / "reports" / "nightly-002"
    assert (out / "nightly.md").read_text().startswith("# Nightly")
    assert json.loads((out / "comparison.json").read_text())["scenarios"] == ["tiny"]
    assert FP32 in (out / "history.html").read_text()


def report_of(nights, number):
    return (nights.root / "reports" / f"nightly-{number:03}" / "nightly.md").read_text()


def cells(text, variant):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {variant} |")]
    (heads,) = [line for line in text.splitlines() if line.startswith("| Variant | Top-1")]
    return dict(zip(heads.split(" | "), line.split(" | "), strict=True))


def test_the_report_shows_the_figures_of_every_variant_without_arrows_in_the_first_run(nights):
    nights.nightly()
    found = cells(report_of(nights, 1), PTQ)
    assert found["Top-1"] == "90.00 %"
    assert found["Speedup"] == f"1.50{TIMES}"
    assert found["INT8 MACs"] == "100.00 %"


def test_arrows_compare_with_the_median_of_earlier_runs(nights):
    for speedup in (1.5, 1.52, 9.0):  # the outlier does not move the median
        nights.nightly(speedup=speedup)
    nights.nightly(speedup=1.3, correct=right(won=20), engine_bytes=1500)
    found = cells(report_of(nights, 4), PTQ)
    assert found["Speedup"] == f"1.30{TIMES} ↘ worse (1.52{TIMES})"
    assert found["Top-1"] == "92.00 % ↗ better (90.00 %)"
    assert found["INT8 MACs"] == "100.00 % →"
    assert "An arrow is no proof" in report_of(nights, 4)


@pytest.mark.parametrize(("width", "shown"), [(0.02, f"1.48{TIMES} →"), (0.002, f"1.48{TIMES} ↘ worse (1.50{TIMES})")])
def test_a_difference_within_the_interval_is_level(nights, width, shown):
    """1.3 %, beyond the margin of 1 %; of accuracy, whose interval is of the samples, the margin alone counts."""
    nights.nightly(speedup=1.5, width=width)
    nights.nightly(speedup=1.48, width=width, correct=right(won=6))
    assert cells(report_of(nights, 2), PTQ)["Speedup"] == shown
    assert cells(report_of(nights, 2), PTQ)["Top-1"] == "90.60 % ↗ better (90.00 %)"


def test_every_link_of_the_report_leads_to_a_file(nights):
    """Run folders of recorded runs hold the record alone: what a real run writes is listed here."""
    nights.nightly()
    links = re.findall(r"\]\(([^)]+)\)", report_of(nights, 1))
    folder = nights.root / "reports" / "nightly-001"
    missing = {link.partition("/")[2] or link for link in links if not (folder / link).is_file()}
    assert "history.html" in links
    assert missing <= {"report.html", "report.md", "results.csv"}, missing


def test_a_broken_gate_is_counted_beside_its_variant(nights):
    gates = [
        Gate(variant=PTQ, metric="accuracy.drop", limit="at most 0.01", value=0.05, verdict="fail"),
        Gate(variant=PTQ, metric="size.engine_bytes", limit="at most 5000", value=2000, verdict="pass"),
    ]
    nights.nightly(gates=gates)
    assert cells(report_of(nights, 1), PTQ)["Gates"] == "**1 of 2 fail**"
    assert cells(report_of(nights, 1), FP32)["Gates"] == NONE


def test_names_in_the_report_are_text(nights):
    nights.nightly(status="failed", reason="<img src=x> [a](javascript:b)")
    assert "<img" not in report_of(nights, 1)
    assert "\\[a\\](javascript:b)" in report_of(nights, 1)  # brackets that are shown, and no link
