"""A toolkit that writes a model of the target instead of an ONNX file, from the scenario to the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracles.whole_runs import run_whole

from harness.report import render
from harness.report.variants import NONE
from harness.results import RunResults

pytest.importorskip("nncf")
pytest.importorskip("openvino")
REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: own
dataset: {source: fashion_mnist, location: embedded, train_samples: 100, calibration_samples: 32, test_samples: 64}
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 4}}
training: {max_epochs: 1, batch_size: 50, augmentations: []}
matrix:
  target: [onnxruntime, openvino]
  method: [fp32, ptq]
  toolkit: [nncf-openvino]
  calibrator: [max]
measurement: {latency: false, memory: false, parity: layers, parity_samples: 32}
"""
ROW = "net-ptq-nncf-openvino-max-perchannel-openvino-b1"
ELSEWHERE = "net-ptq-nncf-openvino-max-perchannel-onnxruntime-b1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Path]:
    results, directory = run_whole(tmp_path_factory.mktemp("project"), SCENARIO)
    render(results, directory)
    return results, directory


@pytest.mark.slow
def test_the_row_has_all_figures_but_those_of_an_onnx_file(run: tuple[RunResults, Path]) -> None:
    row = run[0].row(ROW)
    assert row.status == "ok"
    assert row.accuracy is not None
    assert row.coverage is not None and row.coverage.int8_macs == 1.0
    assert row.size is not None and row.size.onnx_bytes is None and row.size.engine_bytes
    assert "onnx" not in row.files and {"engine", "audit"} <= set(row.files)
    assert row.cost is not None and row.cost.quantize_s is not None


def test_its_chain_says_which_links_it_has_not_and_takes_no_fp32_file_for_its_own(run: tuple[RunResults, Path]) -> None:
    parity = run[0].row(ROW).parity
    assert parity is not None
    assert parity.absent["onnx_quantized"] == "nncf-openvino writes a model of openvino and no ONNX file"
    assert [step.end for step in parity.steps] == ["onnx_fp32", "engine"]
    assert parity.onnx_vs_engine is None


def test_its_steps_are_checked(run: tuple[RunResults, Path]) -> None:
    assert [check.step for check in run[0].row(ROW).checks] == [
        "eager → captured",
        "captured → ONNX",
        "toolkit → model of the target",
        "model of the target → engine",
    ]


def test_on_another_target_the_row_is_unavailable_with_the_reason(run: tuple[RunResults, Path]) -> None:
    row = run[0].row(ELSEWHERE)
    assert (row.status, "that onnxruntime cannot build" in str(row.reason)) == ("unavailable", True)


def test_the_report_has_a_dash_for_the_file_that_is_not_there(run: tuple[RunResults, Path]) -> None:
    lines = (run[1] / "report.md").read_text(encoding="utf-8").splitlines()
    assert any("nncf-openvino" in line and f"| {NONE} |" in line for line in lines)
