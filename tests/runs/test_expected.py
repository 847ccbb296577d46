"""`expected_top1`: checked on the eager network before anything is quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done
from harness.engine.store import Store
from harness.errors import ScenarioError
from harness.metrics.base import Evidence
from harness.runs.expected import expect_accuracy
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.rows import RunOutcomes, make_row
from harness.scenario import load_scenario
from harness.stages.artifacts import LABELS, OUTPUTS
from harness.verdicts.settings import Judgement

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: expected
dataset: {{source: {source}, test_samples: 50}}
models:
  net: {{factory: models/resnet.py:resnet8, args: {{width: 4}}, weights: random{expected}}}
  other: {{factory: models/resnet.py:resnet8, args: {{width: 4}}, weights: random}}
matrix: {{method: [fp32, ptq]}}
"""
EMBEDDED = "fashion_mnist, location: embedded"


@pytest.fixture
def prepared(tmp_path: Path):
    """Prepares the scenario with what the model says of its accuracy."""
    (tmp_path / "models").symlink_to(REPOSITORY / "models")

    def make(expected: str, source: str = EMBEDDED):
        path = tmp_path / "expected.yaml"
        path.write_text(SCENARIO.format(expected=expected, source=source), encoding="utf-8")
        return prepare_run(load_scenario(path), RunOptions())

    return make


def executor(tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(Store(tmp_path / "store"), isolation="none")


def eager_top1(prepared, tmp_path: Path) -> float:
    task = prepared.planner.eager(prepared.plans[0].variant)
    outcome = executor(tmp_path).run([task])[task.key]
    assert isinstance(outcome, Done)
    outputs, labels = (np.load(outcome.artifact.file(name)) for name in (OUTPUTS, LABELS))
    return float((outputs.argmax(1) == labels).mean())


def test_another_accuracy_fails_the_rows_of_that_model_before_anything_is_quantized(prepared, tmp_path: Path) -> None:
    run = prepared(", expected_top1: 0.9")
    plans = expect_accuracy(run.resolved.networks, run.plans, run.planner, executor(tmp_path))
    refused = [plan for plan in plans if plan.broken is not None]
    assert {plan.variant.model for plan in refused} == {"net"}
    assert len(refused) == sum(plan.variant.model == "net" for plan in run.plans) > 1
    assert all(not plan.all_tasks and plan.build is None for plan in refused)
    row = make_row(refused[0], Evidence(refused[0].variant, Judgement(), False, ""), RunOutcomes({}))
    assert row.status == "failed"
    assert "`expected_top1` is 90.00 % (tolerance 2 points): check the preprocessing" in str(row.reason)


@pytest.mark.slow
def test_the_accuracy_that_is_expected_changes_nothing(prepared, tmp_path: Path) -> None:
    run = prepared("")
    top1 = eager_top1(run, tmp_path)
    same = prepared(f", expected_top1: {top1 + 0.019:.4f}")
    assert expect_accuracy(same.resolved.networks, same.plans, same.planner, executor(tmp_path)) == same.plans
    off = prepared(f", expected_top1: {top1 + 0.021:.4f}")
    assert expect_accuracy(off.resolved.networks, off.plans, off.planner, executor(tmp_path)) != off.plans
    wider = prepared(f", expected_top1: {top1 + 0.021:.4f}, expected_top1_tolerance: 0.03")
    assert expect_accuracy(wider.resolved.networks, wider.plans, wider.planner, executor(tmp_path)) == wider.plans


def test_data_without_labels_cannot_tell(prepared) -> None:
    with pytest.raises(ScenarioError, match="has no labels: there is no top-1") as caught:
        prepared(", expected_top1: 0.9", "random_images, args: {input_shape: [1, 28, 28], n_classes: 10}")
    assert caught.value.line == 4


def test_percent_instead_of_a_share_is_refused(prepared) -> None:
    with pytest.raises(ScenarioError, match="expected_top1"):
        prepared(", expected_top1: 71.9")
