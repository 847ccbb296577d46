"""A run with one wrong scale, in the file or in the engine: the report names the layer, and the sound run none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from oracles.faults import weight_scales, with_wrong_weight_scale

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.report import render
from harness.results import RunResults
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario
from harness.stages import networks as stages
from harness.targets import get_target

pytestmark = pytest.mark.slow  # trains, exports and builds

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: parity
dataset:
  source: fashion_mnist
  location: embedded
  train_samples: 200
  calibration_samples: 64
  test_samples: 100
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 4}}
training: {max_epochs: 1, batch_size: 50, augmentations: []}
matrix:
  method: [fp32, ptq]
  calibrator: [max]
  include:
    - {method: ptq, calibrator: max, toolkit: onnxruntime}
    - {method: ptq, calibrator: max, weight_bits: 4}
measurement: {latency: false, parity: layers, parity_samples: 80}
"""
FP32 = "net-fp32-onnxruntime-b1"
PTQ = "net-ptq-max-perchannel-onnxruntime-b1"
OTHER = "net-ptq-onnxruntime-max-perchannel-onnxruntime-b1"
SIMULATED = "net-ptq-max-perchannel-w4a8-onnxruntime-b1"
TO_FILE, TO_ENGINE = "fake-quantized → Q/DQ ONNX", "onnx_quantized → engine"
LAYER, CHANNEL = "layer2.0.conv2", 3

Run = tuple[RunResults, str]
Start = Callable[[str], Run]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Runs the scenario; every run has a store of its own, so that nothing sound is taken from another."""
    project = tmp_path_factory.mktemp("project")
    (project / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "resnet.py", project / "models")
    (project / "parity.yaml").write_text(SCENARIO, encoding="utf-8")

    def run(name: str) -> Run:
        directory = project / "reports" / name
        directory.mkdir(parents=True)
        prepared = prepare_run(load_scenario(project / "parity.yaml"), RunOptions(jobs=1, isolation="none"))
        store = Store(project / f"store-{name}")
        options = RunOptions(jobs=1, isolation="none")
        results = run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore))
        render(results, directory)
        return results, (directory / "report.md").read_text(encoding="utf-8")

    return run


def spoil(path: Path) -> None:
    model = onnx.load(path)
    if weight_scales(model):  # not of FP32, and other toolkits name theirs differently
        onnx.save(with_wrong_weight_scale(model, LAYER, CHANNEL), path)


@pytest.fixture(scope="module")
def sound(start: Start) -> Run:
    return start("sound")


@pytest.fixture(scope="module")
def wrong_file(start: Start) -> Run:
    """Every file of ours has one scale 10 % too large."""
    export = stages.export_onnx

    def spoiled(graph: Any, shape: Any, path: Path, **options: Any) -> None:
        export(graph, shape, path, **options)
        spoil(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "export_onnx", spoiled)
        return start("file")


@pytest.fixture(scope="module")
def wrong_engine(start: Start) -> Run:
    """Every engine built from a file of ours has one scale 10 % too large."""
    target = type(get_target("onnxruntime"))
    build = target.build

    def spoiled(self: Any, onnx_path: Path, directory: Path, options: Any) -> Any:
        engine = build(self, onnx_path, directory, options)
        spoil(engine.path)
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "build", spoiled)
        return start("engine")


def faults(run: Run, variant: str) -> list[tuple[str, str, tuple[int, ...]]]:
    parity = run[0].row(variant).parity
    assert parity is not None
    return [(layer.step, layer.layer, layer.faulty_channels) for layer in parity.layers if layer.is_fault]


class TestSoundRun:
    @pytest.mark.parametrize("variant", [PTQ, OTHER])
    def test_no_layer_is_accused(self, sound: Run, variant: str) -> None:
        assert faults(sound, variant) == []

    def test_each_row_has_the_links_that_exist_for_it(self, sound: Run) -> None:
        links = {
            row.variant.id: [row.parity.steps[0].start, *(step.end for step in row.parity.steps)]
            for row in sound[0].rows
            if row.parity is not None
        }
        assert links == {
            FP32: ["torch_fp32", "onnx_fp32", "engine"],
            PTQ: ["torch_fp32", "onnx_fp32", "torch_quantized", "onnx_quantized", "engine"],
            OTHER: ["torch_fp32", "onnx_fp32", "onnx_quantized", "engine"],
            SIMULATED: ["torch_fp32", "onnx_fp32", "torch_quantized"],
        }

    def test_missing_links_have_their_reason(self, sound: Run) -> None:
        absent = {row.variant.id: row.parity.absent for row in sound[0].rows if row.parity and row.parity.absent}
        assert absent == {
            OTHER: {"torch_quantized": "onnxruntime leaves no fake-quantized torch network behind"},
            SIMULATED: {"engine": "onnxruntime has no integer kernels for this number format"},
        }

    def test_the_chain_uses_the_samples_that_were_asked_for(self, sound: Run) -> None:
        assert {step.n for row in sound[0].rows if row.parity for step in row.parity.steps} == {80}

    def test_export_computes_what_torch_computes(self, sound: Run) -> None:
        """Export only rewrites: what is left is float rounding, about 2^-24 of 1, which is 140 dB."""
        for row in sound[0].rows:
            assert row.parity is not None
            assert row.parity.steps[0].sqnr_db is None or row.parity.steps[0].sqnr_db > 90

    def test_every_step_of_every_row_is_checked(self, sound: Run) -> None:
        captured = ["eager → captured"]
        prepared = ["captured → prepared"] * 2  # calibrating, and quantizing
        assert {row.variant.id: [check.step for check in row.checks] for row in sound[0].rows} == {
            FP32: [*captured, "captured → ONNX", "ONNX → engine"],
            PTQ: [*captured, *prepared, "fake-quantized → Q/DQ ONNX", "ONNX → engine"],
            OTHER: [*captured, "captured → ONNX", "toolkit → Q/DQ ONNX", "ONNX → engine"],
            SIMULATED: [*captured, *prepared],
        }

    def test_variants_share_what_they_have_in_common(self, sound: Run) -> None:
        shared = [stage for stage in sound[0].stages if stage.stage == "evaluate" and len(stage.variants) == 4]
        assert len(shared) == 2  # eager FP32 and ONNX FP32


class TestWrongScale:
    def test_of_the_file_fails_the_row_and_is_named(self, wrong_file: Run) -> None:
        row = wrong_file[0].row(PTQ)
        assert row.status == "failed"
        assert f"{TO_FILE}: `{LAYER}` (Conv) is off by up to" in str(row.reason)
        assert f"first in channel {CHANNEL};" in str(row.reason)
        assert wrong_file[0].row(FP32).status == wrong_file[0].row(OTHER).status == "ok"

    def test_of_the_engine_is_named(self, wrong_engine: Run) -> None:
        assert faults(wrong_engine, PTQ) == [(TO_ENGINE, LAYER, (CHANNEL,))]

    def test_is_in_the_report(self, sound: Run, wrong_file: Run, wrong_engine: Run) -> None:
        assert LAYER not in sound[1]
        assert LAYER in wrong_file[1]
        assert f"{LAYER} (Conv), channel {CHANNEL} of" in wrong_engine[1]
