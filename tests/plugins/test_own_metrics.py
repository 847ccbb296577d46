"""A metric of the user's that fails costs the row that it failed for, whatever it does to its process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.metrics.base import Evidence
from harness.plugins.code import PluginCode
from harness.plugins.probe import PluginFacts
from harness.results import Variant
from harness.runs.own_metrics import OwnMetrics, compute_own
from harness.runs.plugins import Plugins
from harness.verdicts.settings import Judgement

METRIC = """
from harness.metrics.base import Metric
from harness.results import MetricValue

class Own(Metric):
    name = "own"
    def compute(self, evidence):
        {body}
"""
GOOD = "return MetricValue(value=float(evidence.outputs.sum()), unit='1', higher_is_better=True)"


def computed(folder: Path, body: str, *, count: int = 1, timeout_s: float = 60) -> list[OwnMetrics]:
    (folder / "own.py").write_text(METRIC.format(body=body), encoding="utf-8")
    code = PluginCode(kind="metric", name="own.py:Own", sha256=body, root=folder)
    plugins = Plugins({("metric", "own.py:Own"): PluginFacts(code, "own")})
    return compute_own(plugins, [evidence(number) for number in range(count)], timeout_s)


def evidence(number: int) -> Evidence:
    variant = Variant(id=f"v{number}", model="m", method="fp32", target="onnxruntime", batch_size=1)
    outputs = np.full((2, 3), float(number), np.float32)
    return Evidence(variant, Judgement(), True, f"v{number}", outputs=outputs)


def test_the_value_of_each_row(tmp_path: Path) -> None:
    found = computed(tmp_path, GOOD, count=3)
    assert [each.values["own"].value for each in found] == [0.0, 6.0, 12.0]
    assert not any(each.faults for each in found)


def test_no_process_without_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runs.own_metrics.Prober", None)
    assert compute_own(Plugins(), [evidence(0)], 1.0) == [OwnMetrics()]


def test_none_is_no_figure(tmp_path: Path) -> None:
    assert computed(tmp_path, "return None") == [OwnMetrics()]


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 3.0", "it returned float instead of `harness.results.MetricValue` or None"),
        ("return evidence.labels.mean()", "it failed: AttributeError"),
        ("import sys; sys.exit(5)", "it failed: SystemExit: 5"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, body: str, said: str) -> None:
    (found,) = computed(tmp_path, body)
    assert found.values == {}
    assert found.faults[0].startswith("metric `own`: ")
    assert said in found.faults[0]


@pytest.mark.slow  # a process for each row
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os; os.abort()", "crashed with signal SIGABRT"),
        ("import time; time.sleep(60)", "did not finish within 2 s"),
    ],
)
def test_a_crash_costs_one_row(tmp_path: Path, body: str, said: str) -> None:
    guarded = f"if evidence.variant.id == 'v1': {body}\n        {GOOD}"
    found = computed(tmp_path, guarded, count=3, timeout_s=2)
    assert [sorted(each.values) for each in found] == [["own"], [], ["own"]]
    assert said in found[1].faults[0]
