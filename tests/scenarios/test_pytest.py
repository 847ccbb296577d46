"""The embedded quickstart, made small, through pytest: what a user of the plugin gets from real networks."""

import json
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.slow  # trains real networks

REPOSITORY = Path(__file__).parents[2]
SMALLER = {
    r"location: embedded": "location: embedded\n  train_samples: 300\n  test_samples: 200",
    r"calibration_samples: \d+": "calibration_samples: 64",
    r"\n    weights: \S+ +# made by[^\n]*": "",
    r"\n    weights: \S+\n": "\n",
    r"max_epochs: \d+": "max_epochs: 1",
    r"calibrator: \[max, percentile, entropy, mse\]": "calibrator: [max, mse]",
    r"method: qat, calibrator: percentile": "method: qat, calibrator: max",
    r"\n    # 4-bit weights.*\n.*weight_bits: 4\}": "",
    r"per_channel: \[true, false\]": "per_channel: [true]",
    r"budget_s: \d+": (
        "budget_s: 20\n  warmup_s: 0.01\n  round_s: 0.002\n  rounds_per_process: 3\n"
        "  min_processes: 2\n  max_processes: 2"
    ),
}
MODELS = ("resnet8", "mobilenet")
VARIANTS = ("fp32", "ptq-max-perchannel", "ptq-mse-perchannel", "qat-max-perchannel")
PYTHON = """
from harness.pytest_plugin import scenario_matrix

@scenario_matrix("scenarios/*.yaml", select="method=ptq,qat")
def test_quantized_networks_are_integer(row):
    assert row.coverage.int8_macs == 1.0
    assert row.size.weight_bytes > 0
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = (REPOSITORY / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8")
    for pattern, replacement in SMALLER.items():
        text, n = re.subn(pattern, replacement, text)
        assert n == 1, pattern
    pytester.mkdir("scenarios")
    (pytester.path / "scenarios" / "quickstart.yaml").write_text(text, encoding="utf-8")
    shutil.copytree(REPOSITORY / "models", pytester.path / "models")
    (pytester.path / "test_matrix.py").write_text(PYTHON, encoding="utf-8")
    pytester.makeini("[pytest]\nharness_scenarios = scenarios/*.yaml\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ["PYTHONPATH"]]))
    monkeypatch.setenv("HARNESS_STORE", str(pytester.path / "store"))
    monkeypatch.setenv("HARNESS_MEASURING_LOCK", str(pytester.path / "measuring.lock"))
    return pytester.path


def test_the_quickstart_is_built_measured_and_judged(project: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(
        "-p",
        "harness.pytest_plugin",
        "--harness-out=out",
        "--junitxml=junit.xml",
        "--benchmark-json=benchmark.json",
    )
    ids = {f"{model}-{variant}-onnxruntime-b1" for model in MODELS for variant in VARIANTS}
    # Each variant of the scenario file, and the quantized ones of both models in Python.
    result.assert_outcomes(passed=len(ids) + 2 * 3)
    rows = {row["variant"]["id"]: row for row in json.loads((project / "out" / "results.json").read_text())["rows"]}
    assert rows.keys() == ids
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert (project / "out" / "report.html").exists()

    benchmarks = json.loads((project / "benchmark.json").read_text())["benchmarks"]
    assert {each["name"]: each["stats"]["median"] for each in benchmarks} == {
        name: pytest.approx(row["latency"]["median_ms"] / 1e3) for name, row in rows.items()
    }
    cases = {case.get("name"): case for case in ET.parse(project / "junit.xml").iter("testcase")}
    for name, row in rows.items():
        found = {item.get("name"): item.get("value") for item in cases[name].iter("property")}
        assert float(str(found["accuracy.top1"])) == row["accuracy"]["top1"]
