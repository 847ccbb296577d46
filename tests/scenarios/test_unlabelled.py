"""A scenario without labels, from images to the report: rows are judged by agreement with FP32."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.report import render
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario
from harness.training.factory import load_factory

pytestmark = pytest.mark.slow  # captures and exports real networks

REPOSITORY = Path(__file__).parents[2]
FP32 = "net-fp32-onnxruntime-b1"
PTQ = "net-ptq-max-perchannel-onnxruntime-b1"
OTHER = "net-ptq-onnxruntime-max-perchannel-onnxruntime-b1"
SCENARIO = """\
name: photos
dataset:
  source: image_folder
  location: path
  path: photos
  calibration_samples: 6
  test_samples: 8
  args: {size: 24, crops_per_photo: 2, n_classes: 5}
models:
  net: {factory: "models/resnet.py:resnet8", args: {width: 4, in_channels: 3, n_classes: 5}, weights: net.pth}
matrix: {method: [fp32, ptq], toolkit: [harness, onnxruntime], calibrator: max}
measurement: {latency: false}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    project = tmp_path_factory.mktemp("photos")
    (project / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "resnet.py", project / "models")
    (project / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(project / "photos" / f"{number}.png")
    torch.save(_network(project).state_dict(), project / "net.pth")
    path = project / "photos.yaml"
    path.write_text(SCENARIO)
    options = RunOptions(jobs=1, isolation="none")
    directory = project / "reports"
    directory.mkdir()
    prepared, store = prepare_run(load_scenario(path), options), Store(project / "store")
    results = run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore))
    render(results, directory)
    return directory, results


def _network(project: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    network = load_factory("models/resnet.py:resnet8", project)(width=4, in_channels=3, n_classes=5)
    with torch.no_grad():
        network.train()(torch.randn(64, 3, 24, 24))
    return network.eval()


def test_rows_have_agreement_and_no_accuracy(run) -> None:
    directory, results = run
    assert [row.status for row in results.rows] == ["ok"] * 3
    assert all(row.accuracy is None for row in results.rows)
    assert results.row(FP32).metrics == {}
    predictions = pd.read_parquet(directory / "samples" / "predictions.parquet")
    assert list(predictions.columns) == [FP32, PTQ, OTHER]
    for name in (PTQ, OTHER):
        metric = results.row(name).metrics["agreement"]
        assert metric.value == (predictions[name] == predictions[FP32]).mean()
        assert metric.n == 8


def test_torch_and_engine_are_still_compared(run) -> None:
    _, results = run
    parity = results.row(PTQ).parity
    assert parity.torch_vs_engine.n == 8


def test_the_report_has_the_column_and_recommends_nothing(run) -> None:
    directory, results = run
    text = (directory / "report.md").read_text()
    (headings,) = [line for line in text.splitlines() if line.startswith("| Variant | Agreement |")]
    assert "Top-1" not in headings
    (conclusion,) = results.conclusions
    assert conclusion.recommended is None
    assert "Same class as FP32 on 8 images: PTQ max" in conclusion.text


def test_the_weights_file_is_in_the_record(run) -> None:
    directory, results = run
    (weights,) = results.weights
    assert (weights.model, weights.source) == ("net", "net.pth")
    assert weights.sha256 == hashlib.sha256((directory.parent / "net.pth").read_bytes()).hexdigest()
