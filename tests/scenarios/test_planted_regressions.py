"""Faults planted into real runs: each is found against the baseline, with variant and cause in the message."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.comparison.baseline import baseline_path, load_baseline, save_baseline
from harness.comparison.compare_runs import CompareOptions, compare_runs
from harness.comparison.sources import read_run
from harness.data.sources import random_images
from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.quantization.calibrators.mse import MeanSquaredError
from harness.report.comparison import change_messages
from harness.results import RunResults
from harness.results.comparison import Comparison
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario

pytestmark = pytest.mark.slow  # trains and exports real networks

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: nightly
dataset:
  source: fashion_mnist
  location: embedded
  train_samples: 2000
  calibration_samples: 64
  test_samples: 1000
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 8}}
training: {max_epochs: 3, batch_size: 32, initial_lr: 0.1, augmentations: []}
matrix:
  method: [fp32, ptq]
  calibrator: [max, percentile]
measurement: {latency: false}
gates:
  - {metric: accuracy.drop, at_most: 0.05}
  - {metric: accuracy.top1, at_most: 0.05, below: baseline}
  - {metric: coverage.int8_macs, at_least: 0.99}
"""
PTQ = "net-ptq-max-perchannel-onnxruntime-b1"
NOISE = "calib_dataset: {source: random_images, samples: 64, args: {input_shape: [1, 28, 28], n_classes: 10}}\n"
SKIP = 'quantization_params: {rules: [{modules: ["layer1.0.conv1"], skip: true}]}\n'
FLOAT_WEIGHT = 'quantization_params: {rules: [{modules: ["layer3.0.conv2"], weight: {fake_quant: false}}]}\n'

Night = Callable[..., tuple[RunResults, Path]]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Runs the scenario, with text added or replaced, in one project with one store."""
    project = tmp_path_factory.mktemp("project")
    (project / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "resnet.py", project / "models")
    store = Store(project / "store")

    def run(name: str, *, added: str = "", replaced: tuple[str, str] = ("", "")) -> tuple[RunResults, Path]:
        path = project / f"{name}.yaml"
        path.write_text(SCENARIO.replace(*replaced) + added, encoding="utf-8")
        directory = project / "reports" / name
        directory.mkdir(parents=True)
        options = RunOptions(jobs=1, isolation="none")
        prepared = prepare_run(load_scenario(path), options)
        return run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore)), directory

    return run


@pytest.fixture(scope="module")
def baseline(night: Night) -> Path:
    """The file that the first run was saved as, where gates look for it."""
    results, directory = night("base")
    file = baseline_path(directory.parents[1] / "baselines", results.environment, results.scenario)
    save_baseline(read_run(directory / "results.json"), file)
    return file


def compared(baseline: Path, directory: Path) -> tuple[Comparison, str]:
    base, new = load_baseline(baseline), read_run(directory / "results.json")
    found = compare_runs({"nightly": base}, {"nightly": new}, CompareOptions())
    return found, "\n".join(change_messages(found))


def test_a_clean_night_is_the_same_in_everything(night: Night, baseline: Path) -> None:
    results, directory = night("clean")
    found, _ = compared(baseline, directory)
    assert {finding.verdict for finding in found.findings} == {"same"}
    assert found.exit_code(strict=True) == 0
    assert {gate.verdict for gate in results.gates if "baseline" in gate.limit} == {"pass"}
    assert baseline.stat().st_size < 100_000


def test_calibration_on_noise_costs_accuracy(night: Night, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Dark images: the ranges become far too small. (Bright noise lowers the SQNR alone, and is found by that.)
    monkeypatch.setattr(random_images, "MEAN", 0.02)
    monkeypatch.setattr(random_images, "STD", 0.02)
    results, directory = night("noise", added=NOISE)
    found, text = compared(baseline, directory)
    assert found.exit_code() == 1
    assert f"regression: {PTQ}: top-1 fell by" in text
    assert "datasets.random_images.calibration is 64 samples" in text
    assert "parity onnx_fp32 to torch_quantized, SQNR fell by" in text
    assert "`calibrate` is the first stage whose settings, inputs, code or libraries changed" in text
    broken = {gate.variant for gate in results.gates if gate.verdict == "fail"}
    assert PTQ in broken


def test_one_skipped_convolution_is_named(night: Night, baseline: Path) -> None:
    results, directory = night("coverage", added=SKIP)
    found, text = compared(baseline, directory)
    assert found.exit_code() == 1
    assert f"regression: {PTQ}: INT8 coverage fell by" in text
    assert "no longer INT8: layer1.0.conv1" in text
    assert {gate.verdict for gate in results.gates if gate.metric == "coverage.int8_macs"} == {"fail"}


def test_weights_that_stay_float_are_named(night: Night, baseline: Path) -> None:
    _, directory = night("size", added=FLOAT_WEIGHT)
    found, text = compared(baseline, directory)
    assert found.exit_code() == 1
    (line,) = [line for line in text.splitlines() if line.startswith(f"regression: {PTQ}: size")]
    assert "size.weight_bytes rose by" in line
    assert "weights are float in the engine, int8 before: layer3.0.conv2" in text
    assert "the ONNX file stores" in text


def test_a_variant_that_is_gone_and_one_that_fails(
    night: Night, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> float:
        raise RuntimeError("no minimum")

    monkeypatch.setattr(MeanSquaredError, "choose", broken)
    _, directory = night("failing", replaced=("[max, percentile]", "[max, mse]"))
    found, text = compared(baseline, directory)
    assert found.exit_code() == 1
    assert "regression: net-ptq-percentile99.99-perchannel-onnxruntime-b1 vanished" in text
    assert "regression: net-ptq-mse-perchannel-onnxruntime-b1 is new and failed" in text
    assert "no minimum" in text
