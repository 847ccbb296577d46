"""Real nights of a project that `harness init` wrote, with faults planted: found, named, and the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # trains and exports real networks

TESTS = Path(__file__).parents[1]
SLOWED = Path(__file__).with_name("slowed_engine.py")
PTQ = "small_cnn-ptq-max-perchannel-onnxruntime-b1"
SMALL = {
    "  calibration_samples: 256": "  train_samples: 3000\n  calibration_samples: 64",
    "calibrator: [max, mse]": "calibrator: [max]",
    "method: [fp32, ptq, qat]": "method: [fp32, ptq]",
    "  exclude:\n    - {method: qat, calibrator: mse}\n": "",
}
NOISE = "calib_dataset: {source: random_images, samples: 64, args: {input_shape: [1, 28, 28], n_classes: 10}}\n"
DARK = (
    "from harness.data.sources import random_images; random_images.MEAN = random_images.STD = 0.02; "
    "from harness.cli import main; main()"
)
"""The command `harness` with dark noise, on which ranges become far too small."""
SQNR = "parity onnx_fp32 to torch_quantized, SQNR"
SKIP = 'quantization_params: {rules: [{modules: ["block2.conv1"], skip: true}]}\n'
FLOAT_WEIGHT = 'quantization_params: {rules: [{modules: ["block2.conv2"], weight: {fake_quant: false}}]}\n'
BUDGET = "measurement:\n  budget_s: 12\n"
QUICK = (
    "measurement: {warmup_s: 0.01, round_s: 0.005, rounds_per_process: 6, min_processes: 3, max_processes: 3, "
    "budget_s: 20}\n"
)


class Project:
    """A starter project made small; `night` is the command of `tox -e nightly`."""

    def __init__(self, root: Path) -> None:
        self.root, self.number = root, 0
        paths = [str(TESTS.parent), str(TESTS)]
        own = {"HARNESS_STORE": root.parent / "store", "HARNESS_MEASURING_LOCK": root.parent / "measuring.lock"}
        self.environment = os.environ | {name: str(path) for name, path in own.items()}
        self.environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self.environment.pop("HARNESS_HISTORY", None)
        self._call([sys.executable, "-m", "harness.cli", "init", str(root)], TESTS.parent)
        self.scenario = root / "scenarios" / "small_cnn.yaml"
        self.text = self.scenario.read_text(encoding="utf-8")
        for old, new in SMALL.items():
            assert old in self.text
            self.text = self.text.replace(old, new)
        self.write()

    def write(self, added: str = "", *, timed: bool = False) -> None:
        measurement = QUICK if timed else "measurement: {latency: false}\n"
        self.scenario.write_text(self.text.replace(BUDGET, measurement) + added, encoding="utf-8")

    def nightly(self, *options: str, command: tuple[str, ...] = ("-m", "harness.cli")) -> tuple[int, str]:
        self.number += 1
        out = ("--out", f"reports/night-{self.number}")
        return self._call([sys.executable, "-W", "ignore", *command, "nightly", "--quiet", *out, *options], self.root)

    def _call(self, line: list[str], folder: Path) -> tuple[int, str]:
        done = subprocess.run(line, cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("starter") / "project")
    code, output = made.nightly("--first")
    assert code in (0, 1), output  # so short a training may break a gate
    return made


def test_a_clean_night_is_no_regression(project):
    project.write()
    code, output = project.nightly()
    assert "No regression proven" in output
    assert code == 0, output


@pytest.mark.parametrize(
    ("added", "change", "cause"),
    [
        (SKIP, "INT8 coverage fell by", "block2.conv1 (skipped: "),
        (FLOAT_WEIGHT, "size.weight_bytes rose by", "block2.conv2"),
    ],
    ids=["coverage", "size"],
)
def test_a_planted_fault_is_found_with_variant_and_cause(project, added, change, cause):
    project.write(added)
    code, output = project.nightly()
    assert code == 1, output
    (line,) = [text for text in output.splitlines() if text.startswith(f"regression: {PTQ}: ") and change in text]
    assert cause in line


def test_calibration_on_noise_is_found(project):
    """By what it does to the outputs: this network loses little top-1. One that does: `test_planted_regressions.py`."""
    project.write(NOISE)
    code, output = project.nightly("--isolation", "none", command=("-c", DARK))
    assert code == 1, output
    (line,) = [text for text in output.splitlines() if text.startswith(f"regression: {PTQ}: ") and SQNR in text]
    assert "datasets.random_images.calibration" in line


def test_a_scenario_that_vanished(project):
    project.write()
    other = project.scenario.with_name("other.yaml")
    other.write_text(project.scenario.read_text().replace("name: small_cnn", "name: other"), encoding="utf-8")
    assert project.nightly("--first")[0] == 0
    other.unlink()
    code, output = project.nightly()
    assert code == 1, output
    assert "regression: scenario other vanished" in output
    for path in (project.root / "baselines").glob("*/other.json"):
        path.unlink()


def test_a_new_variant_that_fails(project):
    """The network of the new variant builds, and fails when it is captured."""
    source = (project.root / "models" / "small_cnn.py").read_text(encoding="utf-8")
    broken = source.replace("x = self.block1(", "if x.sum() > 0:\n            x = x + 1\n        x = self.block1(")
    (project.root / "models" / "broken.py").write_text(broken, encoding="utf-8")
    project.write()
    text = project.scenario.read_text(encoding="utf-8")
    second = "  broken: {factory: models/broken.py:small_cnn, weights: random}\n\ntraining:"
    project.scenario.write_text(text.replace("\ntraining:", second), encoding="utf-8")
    code, output = project.nightly()
    assert code == 1, output
    assert "regression: broken-ptq-max-perchannel-onnxruntime-b1 is new and failed" in output


def test_a_slower_engine(project):
    """Takes three times as long, so it passes on any machine; 10 %: `benchmarks/nightly_runs.py`."""
    project.write(timed=True)
    apart = ("--isolation", "none", "--baselines", "baselines-slowed")
    code, output = project.nightly("--first", *apart, command=(str(SLOWED), PTQ, "0"))
    assert code == 0, output
    code, output = project.nightly(*apart, command=(str(SLOWED), PTQ, "200"))
    assert code == 1, output
    assert f"regression: {PTQ}: slower by" in output
