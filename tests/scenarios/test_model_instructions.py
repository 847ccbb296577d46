"""A model file that says itself what is skipped, replaced and marked: a scenario carries it out in quantized rows."""

from __future__ import annotations

import contextlib

import onnx
import pytest

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.report import render
from harness.results import RunResults
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario

pytestmark = pytest.mark.slow  # trains and exports real networks

MODEL = """\
import torch
from torch import nn
from harness.skip_connections import Residual
from harness.quantization.replacement.instructions import SkipQuantization, register_quantized_module

class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.conv(x))

@register_quantized_module(Gate)
class QuantGate(Gate):
    def forward(self, x):
        return x * nn.functional.hardsigmoid(self.conv(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = SkipQuantization(nn.Conv2d(1, 4, 3, stride=4))
        self.gate = Gate(4)
        self.mark = Residual()
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = self.gate(torch.relu(self.stem(x)))
        x = x - self.mark(torch.tanh(x))
        return self.head(x.mean((2, 3)))

def net():
    return Net()
"""
SCENARIO = """\
name: instructions
dataset: {source: fashion_mnist, location: embedded, train_samples: 200, calibration_samples: 64, test_samples: 50}
models: {net: {factory: models/net.py:net}}
training: {max_epochs: 1, batch_size: 50, lr_warmup_epochs: 0, augmentations: []}
matrix: {method: [fp32, ptq], calibrator: max}
measurement: {latency: false}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, dict[str, onnx.ModelProto]]:
    project = tmp_path_factory.mktemp("project")
    (project / "models").mkdir()
    (project / "models" / "net.py").write_text(MODEL)
    (project / "s.yaml").write_text(SCENARIO)
    options = RunOptions(jobs=1, isolation="none")
    prepared = prepare_run(load_scenario(project / "s.yaml"), options)
    directory = project / "report"
    directory.mkdir()
    results = run_scenario(
        prepared, directory, Store(project / "store"), options, lambda: contextlib.nullcontext(ignore)
    )
    render(results, directory)
    files = {path.stem.split("-")[1]: onnx.load(path) for path in (directory / "models").glob("*.onnx")}
    return results, files


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def test_every_row_is_fine(finished: tuple[RunResults, dict[str, onnx.ModelProto]]) -> None:
    assert [row.status for row in finished[0].rows] == ["ok", "ok"]


def test_the_float_row_is_the_model_as_it_stands(finished: tuple[RunResults, dict[str, onnx.ModelProto]]) -> None:
    found = operators(finished[1]["fp32"])
    assert "Sigmoid" in found
    assert found.isdisjoint({"HardSigmoid", "QuantizeLinear"})


def test_the_quantized_row_has_the_counterpart_the_skip_and_the_mark(
    finished: tuple[RunResults, dict[str, onnx.ModelProto]],
) -> None:
    model = finished[1]["ptq"]
    assert "HardSigmoid" in operators(model) and "Sigmoid" not in operators(model)
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    convolutions = {node.name: producers.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"}
    assert convolutions == {"stem": None, "gate.conv": "DequantizeLinear"}
    (subtraction,) = [node for node in model.graph.node if node.op_type == "Sub"]
    assert producers[subtraction.input[1]] == "DequantizeLinear"
