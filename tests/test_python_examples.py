"""The Python examples of README and docs/python.md run as they are, and achieve what they are there for."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness

ROOT = Path(__file__).parents[1]
TINY = """\
name: my_network
dataset:
  source: random_images
  args: {input_shape: [1, 8, 8], n_classes: 10}
  calibration_samples: 8
  test_samples: 8
models:
  net: {factory: models/tiny.py:tiny, weights: random}
matrix: {method: [fp32, ptq], calibrator: [max]}
measurement: {latency: false, memory: false, parity: "off"}
"""
MODEL = """\
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
"""


def examples(page: str, kind: str) -> str:
    """The blocks of a page with this marker above them, as one program."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^<!-- python: {kind} -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def run(program: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program, "example", "exec"), names)
    return names


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))  # `models` is imported as from the repository's root
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "store"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "models"]:
        del sys.modules[name]


def test_every_python_example_has_a_marker() -> None:
    for page, blocks in (("README.md", 2), ("docs/python.md", 3)):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert (
            text.count("```python\n")
            == len(re.findall(r"^<!-- python: .* -->\n```python$", text, re.MULTILINE))
            == blocks
        )


def test_one_network(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(examples("README.md", "one network"))
    assert capsys.readouterr().out.startswith("INT8: 100% of the multiply-accumulates\n")
    assert names["logits"].shape == (8, 10)
    assert {path.name for path in project.iterdir()} >= {"resnet8_int8.onnx", names["engine"].path.name}


def test_a_scenario(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, text in (("scenarios/my_network.yaml", TINY), ("models/tiny.py", MODEL)):
        (project / place).parent.mkdir()
        (project / place).write_text(text, encoding="utf-8")
    before = harness.run("scenarios/my_network.yaml", out="reports/before", isolation="none", report=False)
    assert {path.name for path in (project / "reports" / "before").iterdir()}.isdisjoint({"report.html", "results.csv"})
    names = run(examples("README.md", "a scenario"))
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[:-1]] == [[row.variant.id, "ok"] for row in before.rows]
    assert printed[-1] == f"{before.started_at} []"
    assert names["before"] == before
    assert {finding.metric for finding in names["comparison"].findings} >= {"size.engine_bytes"}
    assert (project / "reports" / "after" / "report.html").is_file()
    assert not (project / "reports" / "history.sqlite").exists()
    with pytest.raises(harness.HarnessError, match="already holds a run"):
        harness.run("scenarios/my_network.yaml", out="reports/after")
    with pytest.raises(harness.HarnessError, match="chooses no variant"):
        harness.run("scenarios/my_network.yaml", out="reports/none", select=["method=qat"])


def test_the_details(project: Path) -> None:
    names = run(examples("docs/python.md", "details"))
    assert names["error"] > 0
    assert [check.step for check in names["quantized"].origin.checks] == ["eager → captured", "captured → prepared"]
    assert len(names["log"].epochs) == 1
    assert names["int8"].weight_bytes < names["fp32"].weight_bytes
    assert "head" in str(names["reasons"])
