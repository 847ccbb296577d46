"""A whole run of a target that builds here and cannot run here."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.results import RunResults
from harness.targets import get_target
from harness.targets.tensorrt.gpu import find_gpu

ROOT = Path(__file__).parents[2]
SCENARIO = """
name: engines
dataset: {{source: fashion_mnist, location: embedded, train_samples: 100, calibration_samples: 32, test_samples: 20}}
models:
  resnet8: {{factory: {root}/models/resnet.py:resnet8}}
training: {{max_epochs: 1, batch_size: 50, augmentations: []}}
matrix:
  method: [fp32, fp16, ptq, qat]
  calibrator: max
  target: [onnxruntime, tensorrt-rtx, tensorrt]
  exclude: [{{method: fp16, target: onnxruntime}}]
targets: {{tensorrt-rtx: {{compute_capabilities: [SM86, SM89]}}}}
measurement: {{latency: false}}
"""
METHODS = ("fp32", "fp16", "ptq", "qat")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not get_target("tensorrt-rtx").availability().usable, reason="tensorrt-rtx is not installed"),
    pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU here"),
]


def test_rows_are_built_or_unavailable_and_the_run_ends_well(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO.format(root=ROOT))
    command = [sys.executable, "-m", "harness.cli", "run", "s.yaml", "--out", "out", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row.variant.id: row for row in RunResults.load(tmp_path / "out" / "results.json").rows}
    assert [(row.variant.method, row.variant.place, row.status) for row in rows.values()] == [
        *[(method, "onnxruntime", "ok") for method in METHODS if method != "fp16"],
        *[(method, f"tensorrt-rtx for {gpu}", "built") for gpu in ("SM86", "SM89") for method in METHODS],
        *[(method, "tensorrt", "unavailable") for method in METHODS],
    ]
    for method in ("ptq", "qat"):
        row = rows[f"resnet8-{method}-max-perchannel-tensorrt-rtx-sm89-b1"]
        assert row.reason == "no NVIDIA GPU here to run the engine on (built for SM89): no accuracy and no latency"
        assert row.accuracy is None
        assert row.latency is None
        assert row.coverage is not None
        assert row.coverage.int8_layers == "10/10"
        assert row.size is not None
        assert row.size.engine_bytes == (tmp_path / "out" / row.files["engine"]).stat().st_size
        assert (tmp_path / "out" / row.files["audit"]).is_file()
        assert row.cost is not None
        assert row.cost.build_s is not None
    assert "pip install tensorrt" in str(rows["resnet8-fp32-tensorrt-b1"].reason)


def test_the_parity_chain_ends_at_the_file(tmp_path: Path) -> None:
    text = SCENARIO.format(root=ROOT).replace("latency: false", "latency: false, parity: layers")
    (tmp_path / "s.yaml").write_text(text)
    select = ["--select", "method=ptq", "--select", "*-sm86-*"]
    command = [sys.executable, "-m", "harness.cli", "run", "s.yaml", "--out", "out", "--quiet", *select]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = RunResults.load(tmp_path / "out" / "results.json")
    parity = results.row("resnet8-ptq-max-perchannel-tensorrt-rtx-sm86-b1").parity
    assert parity is not None
    assert [step.end for step in parity.steps][:3] == ["onnx_fp32", "torch_quantized", "onnx_quantized"]
    assert parity.absent["engine"].startswith("no NVIDIA GPU here")
    assert {layer.step for layer in parity.layers} == {"torch_quantized → onnx_quantized"}
    assert not any(layer.is_fault for layer in parity.layers)


UNSUPPORTED = """
name: unsupported
dataset:
  source: random_images
  calibration_samples: 32
  test_samples: 8
  args: {{input_shape: [1, 28, 28], n_classes: 10}}
models:
  odd: {{factory: odd.py:make, weights: random}}
  resnet8: {{factory: {root}/models/resnet.py:resnet8, weights: random}}
matrix: {{method: [fp32], target: [onnxruntime, tensorrt-rtx]}}
measurement: {{accuracy: false, latency: false}}
"""
DETERMINANT = """
import torch

class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 10, 1)

    def forward(self, x):
        return torch.linalg.det(self.conv(x))

def make():
    return Odd()
"""


def test_an_operator_that_one_target_lacks_costs_its_row_alone(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(UNSUPPORTED.format(root=ROOT))
    (tmp_path / "odd.py").write_text(DETERMINANT)
    command = [sys.executable, "-m", "harness.cli", "run", "s.yaml", "--out", "out", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    rows = {row.variant.id: row for row in RunResults.load(tmp_path / "out" / "results.json").rows}
    assert {name: row.status for name, row in rows.items()} == {
        "odd-fp32-onnxruntime-b1": "ok",
        "odd-fp32-tensorrt-rtx-b1": "failed",
        "resnet8-fp32-onnxruntime-b1": "ok",
        "resnet8-fp32-tensorrt-rtx-b1": "built",
    }
    reason = str(rows["odd-fp32-tensorrt-rtx-b1"].reason)
    assert "at node `" in reason
    assert "(Det)" in reason
    assert "replace the operator by ones that TensorRT has" in reason
