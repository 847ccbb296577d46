"""The how-to pages of plug-ins: their code runs, in a project outside the package, as the page says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from oracles.plugin_pages import PAGES, page, write_project

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.results import RunResults
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario

MOST_LINES = 40
KINDS = sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "index")
Run = Callable[..., RunResults]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a scenario with the plug-ins of some pages."""
    store = Store(tmp_path_factory.mktemp("store"))

    def start(*names: str, **changes: Any) -> RunResults:
        folder = tmp_path_factory.mktemp("project")
        options = RunOptions(jobs=1, isolation="none")
        prepared = prepare_run(load_scenario(write_project(folder, *names, **changes)), options)
        directory = folder / "reports" / "own"
        directory.mkdir(parents=True)
        return run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore))

    return start


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_a_page_has_under_40_lines(kind: str) -> None:
    assert len(page(kind).code.splitlines()) < MOST_LINES


@pytest.fixture(scope="module")
def together(run: Run) -> RunResults:
    """One run with the plug-ins that go into one matrix."""
    return run("calibrator", "metric", "ptq-step", "training-loop")


def ids(results: RunResults) -> set[str]:
    return {row.variant.id for row in results.rows if row.status == "ok"}


@pytest.mark.slow
def test_all_rows_are_there(together: RunResults) -> None:
    assert [(row.variant.id, row.reason) for row in together.rows if row.status != "ok"] == []
    calibrators = ("max", "clip.clip", "clip.narrow")
    expected = {f"net-ptq-{name}-perchannel-onnxruntime-b1" for name in calibrators}
    expected |= {f"net-ptq-{name}-perchannel-clamp.clampweights-onnxruntime-b1" for name in calibrators}
    assert ids(together) == {"net-fp32-onnxruntime-b1", *expected}


@pytest.mark.slow
def test_a_data_source(run: Run) -> None:
    results = run("data-source", training={"max_epochs": 8, "batch_size": 16, "augmentations": []})
    assert results.datasets[0].name == "blobs.py:Blobs"
    fp32 = results.row("net-fp32-onnxruntime-b1")
    assert fp32.accuracy is not None
    assert fp32.accuracy.top1 is not None
    assert fp32.accuracy.top1 > 0.9  # four corners are easy


@pytest.mark.slow
def test_a_toolkit(run: Run) -> None:
    results = run("toolkit")
    row = results.row("net-ptq-symmetric.symmetric-max-perchannel-onnxruntime-b1")
    assert row.status == "ok", row.reason
    assert row.variant.toolkit == "symmetric.py:Symmetric"


@pytest.mark.slow
def test_a_target(run: Run) -> None:
    results = run("target", measurement={"latency": True, "max_processes": 2, "min_processes": 2, "budget_s": 5.0})
    assert {row.variant.id: row.status for row in results.rows} == {
        "net-fp32-camera.camera-b1": "ok",
        "net-ptq-max-perchannel-camera.camera-b1": "ok",
        "net-fp32-camera.camera-b4": "unavailable",
        "net-ptq-max-perchannel-camera.camera-b4": "unavailable",
    }
    assert results.row("net-fp32-camera.camera-b4").reason == "the camera sends one image at a time"
    assert results.row("net-ptq-max-perchannel-camera.camera-b1").latency is not None


@pytest.mark.slow
def test_a_load_scenario(run: Run) -> None:
    pytest.importorskip("mlperf_loadgen", reason="the extra `loadgen` is not installed")
    results = run("load-scenario", matrix={"method": ["fp32"]})
    load = results.row("net-fp32-onnxruntime-b1").load
    assert load is not None
    assert set(load.results) == {"frames"}
    assert load.results["frames"].samples_per_s > 0


@pytest.mark.slow
class TestTogether:
    """Calibrator, metric, PTQ step and training loop in one run."""

    def test_a_calibrator_chooses_the_ranges(self, together: RunResults) -> None:
        keys = {stage.key for stage in together.stages if stage.stage == "quantize"}
        assert len(keys) == 6  # three calibrators, with and without the step

    def test_a_metric_is_in_every_row_and_in_gates(self, together: RunResults) -> None:
        for row in together.rows:
            assert 0.1 <= row.metrics["mean_confidence"].value <= 1
        assert {gate.metric for gate in together.gates} == {"metrics.mean_confidence"}
        assert {gate.verdict for gate in together.gates} <= {"pass", "inconclusive"}

    def test_the_training_loop_made_the_weights(self, together: RunResults, run: Run) -> None:
        plain = run(matrix={"method": ["fp32"]})
        assert together.fp32_weights[0].sha256 != plain.fp32_weights[0].sha256
