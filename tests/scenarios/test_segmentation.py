"""A scenario whose network classifies every pixel, from generated images to the report."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.report import render
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario

pytestmark = pytest.mark.slow  # trains and exports real networks

REPOSITORY = Path(__file__).parents[2]
FP32 = "unet-fp32-onnxruntime-b1"
PTQ = "unet-ptq-max-perchannel-onnxruntime-b1"
OTHER = "unet-ptq-onnxruntime-max-perchannel-onnxruntime-b1"
QAT = "unet-qat-max-perchannel-onnxruntime-b1"
SCENARIO = """\
name: masks
dataset:
  source: generated_shapes
  train_samples: 400
  calibration_samples: 40
  test_samples: 60
  args: {size: 16}
models:
  unet: {factory: "models/segmentation.py:unet_small"}
training: {max_epochs: 6, batch_size: 20, initial_lr: 0.1, augmentations: [horizontal_flip, random_crop]}
matrix: {method: [fp32, ptq, qat], toolkit: [harness, onnxruntime], calibrator: max}
measurement: {latency: false}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    project = tmp_path_factory.mktemp("masks")
    (project / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "segmentation.py", project / "models")
    path = project / "masks.yaml"
    path.write_text(SCENARIO)
    directory = project / "reports"
    directory.mkdir()
    options = RunOptions(jobs=1, isolation="none")
    store = Store(project / "store")
    results = run_scenario(
        prepare_run(load_scenario(path), options), directory, store, options, lambda: contextlib.nullcontext(ignore)
    )
    render(results, directory)
    return directory, results


def test_every_row_is_judged_by_mean_iou(run) -> None:
    _, results = run
    assert {row.variant.id: row.status for row in results.rows} == dict.fromkeys([FP32, PTQ, OTHER, QAT], "ok")
    for row in results.rows:
        assert row.accuracy is None
        found = row.metrics["mean_iou"]
        assert 0.35 < found.value < 1.0  # one class everywhere has a third of about 0.75
        assert found.interval.low < found.value < found.interval.high
        assert found.n == 60


def test_the_loss_is_paired_with_fp32_and_corrected_for_three_rows(run) -> None:
    _, results = run
    reference = results.row(FP32).metrics["mean_iou"]
    for name in (PTQ, OTHER, QAT):
        found = results.row(name).metrics["mean_iou"]
        compared = found.comparison
        assert compared.reference == FP32
        assert found.drop == pytest.approx(reference.value - found.value)
        assert compared.loss_interval[0] < found.drop < compared.loss_interval[1]
        assert compared.family_size == 3
        assert compared.p_value_adjusted >= compared.p_value


def test_the_figures_follow_from_the_file(run) -> None:
    directory, results = run
    states = pd.read_parquet(directory / results.row(FP32).files["metric_states"])
    for row in results.rows:
        mine = states[(states["variant"] == row.variant.id) & (states["state"] == "confmat")]
        confusion = mine.groupby("element")["value"].sum().to_numpy().reshape(3, 3)
        intersection = np.diag(confusion)
        union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
        assert confusion.sum() == 60 * 16 * 16
        assert row.metrics["mean_iou"].value == pytest.approx((intersection / union).mean())


def test_agreement_and_parity_are_of_pixels(run) -> None:
    _, results = run
    assert results.row(PTQ).metrics["agreement"].unit == "share of pixels"
    assert results.row(PTQ).parity.torch_vs_engine.top1_agreement > 0.95


def test_all_convolutions_but_the_last_run_on_integers(run) -> None:
    _, results = run
    coverage = results.row(PTQ).coverage
    assert coverage.int8_layers == "6/7"
    (head,) = [layer for layer in coverage.layers if layer.name == "head"]
    assert "no integer convolution with float output" in head.reason


def test_the_conclusion_speaks_of_the_metric(run) -> None:
    directory, results = run
    (conclusion,) = results.conclusions
    assert "mean_iou" in conclusion.text.splitlines()[0]
    assert f"FP32: mean_iou {results.row(FP32).metrics['mean_iou'].value:.3f} on 60 images." in conclusion.text
    assert "mean_iou" in (directory / "report.html").read_text(encoding="utf-8")
