"""Load scenarios of a whole run: figures, logs, and predictions that are not those of the evaluation."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.results import RunResults
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario
from harness.targets.onnxruntime.session import OnnxRuntimeSession

pytest.importorskip("mlperf_loadgen", reason="the extra `loadgen` is not installed")
pytestmark = pytest.mark.slow  # exports a real network

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: loaded
dataset: {source: fashion_mnist, location: embedded, train_samples: 100, calibration_samples: 64, test_samples: 90}
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 4}}
training: {max_epochs: 1, batch_size: 50, augmentations: []}
matrix: {method: fp32, batch_size: [1, 4]}
measurement:
  latency: false
  load:
    single_stream: {min_duration_ms: 50, warmup_ms: 10}
    multi_stream: {min_duration_ms: 50, samples_per_query: 6}
    offline: {min_duration_ms: 50}
    server: {min_duration_ms: 50, target_qps: 200, target_latency_ms: 0.000001}
"""
ONE, FOUR = "net-fp32-onnxruntime-b1", "net-fp32-onnxruntime-b4"
Start = Callable[[str], tuple[RunResults, Path]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    project = tmp_path_factory.mktemp("project")
    (project / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "resnet.py", project / "models")
    path = project / "loaded.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    store = Store(project / "store")

    def run(name: str) -> tuple[RunResults, Path]:
        directory = project / "reports" / name
        directory.mkdir(parents=True)
        options = RunOptions(jobs=1, isolation="none")
        prepared = prepare_run(load_scenario(path), options)
        return run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore)), directory

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_MEASURING_LOCK", str(project / "measuring.lock"))
        yield run


@pytest.fixture(scope="module")
def first(start: Start) -> tuple[RunResults, Path]:
    return start("first")


class TestRun:
    @pytest.mark.parametrize("variant", [ONE, FOUR])
    def test_every_load_scenario_has_figures(self, first: tuple[RunResults, Path], variant: str) -> None:
        load = first[0].row(variant).load
        assert load is not None
        assert set(load.results) == {"single_stream", "multi_stream", "offline", "server"}
        assert load.results["multi_stream"].samples_per_query == 6
        assert load.results["single_stream"].p50_ms > 0
        assert load.overhead_us > 0

    def test_a_bound_of_a_nanosecond_is_invalid_and_no_failure(self, first: tuple[RunResults, Path]) -> None:
        row = first[0].row(ONE)
        assert row.status == "ok"
        assert "latency bound" in str(row.load.results["server"].reason)

    @pytest.mark.parametrize("variant", [ONE, FOUR])
    def test_accuracy_mode_agrees_with_the_evaluation_on_every_sample(
        self, first: tuple[RunResults, Path], variant: str
    ) -> None:
        accuracy = first[0].row(variant).load.accuracy
        assert (accuracy.n, accuracy.disagreements) == (90, 0)

    def test_logs_are_kept(self, first: tuple[RunResults, Path]) -> None:
        results, directory = first
        logs = directory / results.row(ONE).files["load"]
        assert logs == directory / "load" / ONE
        for name in ("single_stream", "multi_stream", "offline", "server", "accuracy"):
            summary = (logs / name / "mlperf_log_summary.txt").read_text(encoding="utf-8")
            assert "No errors encountered during test" in summary
            assert (logs / name / "mlperf_log_detail.txt").stat().st_size > 0
        logged = json.loads((logs / "accuracy" / "mlperf_log_accuracy.json").read_text(encoding="utf-8"))
        assert sorted(entry["qsl_idx"] for entry in logged) == list(range(90))

    def test_it_is_measured_anew_in_every_run(self, start: Start, first: tuple[RunResults, Path]) -> None:
        again, _ = start("again")
        assert {stage.stage for stage in again.stages if not stage.cached} == {"load"}


def test_a_planted_disagreement_makes_a_failed_row(
    start: Start, first: tuple[RunResults, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxRuntimeSession.run

    def wrong_at_batch_one(self: Any, batch: Any) -> Any:
        outputs = run(self, batch)
        return np.roll(outputs, 1, axis=1) if len(batch) == 1 else outputs

    monkeypatch.setattr(OnnxRuntimeSession, "run", wrong_at_batch_one)
    results, directory = start("planted")
    row = results.row(ONE)
    assert row.status == "failed"
    assert "another class than the evaluation for 90 of 90 test samples, first for 0, 1, 2, 3, 4" in str(row.reason)
    assert row.accuracy is not None  # nothing that was computed is lost
    assert row.load.results["single_stream"].valid
    assert (directory / row.files["load"] / "accuracy" / "mlperf_log_accuracy.json").is_file()
    # 90 = 22 * 4 + 2: no batch of one.
    assert results.row(FOUR).status == "ok"
