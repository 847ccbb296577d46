"""Under `pytest -n 2` a scenario is run once, by one worker, and never beside another."""

from xml.etree import ElementTree as ET

import pytest
from oracles.scripted_runs import journal, write_script

TINY = "scenarios/tiny.yaml"
FP32 = "net-fp32-onnxruntime-b1"
MAX = "net-ptq-max-perchannel-onnxruntime-b1"
MSE = "net-ptq-mse-perchannel-onnxruntime-b1"


def test_workers_share_one_run_and_the_controller_reports_it(scripted, run_apart) -> None:
    gate = {"variant": MAX, "metric": "accuracy.drop", "limit": "at most 0.01", "value": 0.25, "verdict": "fail"}
    unavailable = {"status": "unavailable", "reason": "no such toolkit"}
    write_script(scripted, gates=[gate], rows={MSE: unavailable}, latency_ms={FP32: [2.0], MAX: [1.0]})
    result = run_apart(TINY, "-n", "2", "-v", "-rs", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    assert journal(scripted) == [{"scenario": "tiny", "chosen": [FP32, MAX, MSE]}]
    result.stdout.fnmatch_lines_random(
        [
            f"[[]gw?[]]*FAILED {TINY}::{MAX}*",
            f"SKIPPED [[]1[]] {TINY}:*: no such toolkit",
            "*quantization scenarios*",
            f"{MAX} *fail (1/1)",
            "report: */report.html",
        ]
    )
    cases = {case.get("name"): case for case in ET.parse("junit.xml").iter("testcase")}
    assert {item.get("name"): item.get("value") for item in cases[MAX].iter("property")}["latency.median_ms"] == "1"


@pytest.mark.slow
def test_two_scenarios_take_turns(scripted, run_apart) -> None:
    text = (scripted / TINY).read_text().replace("name: tiny", "name: second")
    (scripted / "scenarios" / "second.yaml").write_text(text)
    # The scripted runner fails when it finds another at work.
    result = run_apart(TINY, "scenarios/second.yaml", "-n", "2", "-k", "ptq", "--dist", "loadgroup")
    result.assert_outcomes(passed=4)
    assert sorted(entry["scenario"] for entry in journal(scripted)) == ["second", "tiny"]
    assert {tuple(entry["chosen"]) for entry in journal(scripted)} == {(MAX, MSE)}
