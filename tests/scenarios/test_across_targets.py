"""Two targets on one CPU, from the scenario to the report: the same rounds, one reference, one decision."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from oracles.whole_runs import run_whole

from harness.report import render
from harness.results import RunResults
from harness.timing.samples import AA_CONTROL

pytest.importorskip("openvino")
pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: across
dataset: {source: fashion_mnist, location: embedded, train_samples: 100, calibration_samples: 32, test_samples: 64}
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 4}}
training: {max_epochs: 1, batch_size: 50, augmentations: []}
reference_target: openvino
targets:
  onnxruntime: {threads: 1}
matrix:
  target: [onnxruntime, openvino]
  method: [fp32, ptq]
  calibrator: [max]
measurement:
  {warmup_s: 0.01, round_s: 0.005, rounds_per_process: 4, min_processes: 2, max_processes: 2, memory: false,
   parity: 'off', streams: [2, 1], streams_s: 0.05}
"""
ORT, OV = "net-fp32-onnxruntime-b1", "net-fp32-openvino-b1"
ORT_PTQ, OV_PTQ = "net-ptq-max-perchannel-onnxruntime-b1", "net-ptq-max-perchannel-openvino-b1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Path]:
    results, directory = run_whole(tmp_path_factory.mktemp("project"), SCENARIO)
    render(results, directory)
    return results, directory


def test_all_rows_took_turns_in_the_same_rounds_beside_one_twin(run: tuple[RunResults, Path]) -> None:
    results, directory = run
    assert {row.status for row in results.rows} == {"ok"}
    samples = pd.read_parquet(directory / "samples" / "latency.parquet")
    assert set(samples["group"]) == {OV}
    assert set(samples["session"]) == {ORT, OV, ORT_PTQ, OV_PTQ, AA_CONTROL}
    assert (
        len({tuple(sorted(turns)) for _, turns in samples.groupby(["process", "round"])["turn"].unique().items()}) == 1
    )
    assert [stage.variants for stage in results.stages if stage.stage == "measure"] == [(ORT, ORT_PTQ, OV, OV_PTQ)]


def test_speed_is_over_both_references_and_accuracy_over_the_targets_own(run: tuple[RunResults, Path]) -> None:
    results, _ = run
    own = {
        row.variant.id: row.latency.comparison and row.latency.comparison.reference
        for row in results.rows
        if row.latency
    }
    assert own == {ORT: None, OV: None, ORT_PTQ: ORT, OV_PTQ: OV}
    across = {
        row.variant.id: row.latency.across and row.latency.across.comparison.reference
        for row in results.rows
        if row.latency
    }
    assert across == {ORT: OV, ORT_PTQ: OV, OV: None, OV_PTQ: None}
    accuracy = {
        row.variant.id: row.accuracy.comparison and row.accuracy.comparison.reference
        for row in results.rows
        if row.accuracy
    }
    assert accuracy == own
    for row in results.rows:
        assert row.latency is not None and row.latency.threads == 1


def test_every_row_is_set_beside_the_one_peak_of_its_threads(run: tuple[RunResults, Path]) -> None:
    results, directory = run
    (peak,) = [stage for stage in results.stages if stage.stage == "peak"]
    assert set(peak.variants) == {ORT, ORT_PTQ, OV, OV_PTQ}
    rates = results.environment["peak_gmacs_per_s"]["1 thread"]
    for row in results.rows:
        assert row.latency is not None and row.latency.share_of_peak is not None and row.coverage is not None
        # What an engine at the peak would take, as a share of the median.
        gmacs = {name: sum(layer.macs for layer in row.coverage.layers if layer.precision == name) for name in rates}
        ideal_s = sum(count / 1e9 / rates[name] for name, count in gmacs.items() if count)
        share = ideal_s * 1e3 / row.latency.median_ms
        assert row.latency.share_of_peak == pytest.approx(share, rel=0.02)  # the record has one decimal
    assert "Of peak" in (directory / "report.md").read_text(encoding="utf-8")


def test_samples_per_second_of_both_targets_with_each_number_of_streams(run: tuple[RunResults, Path]) -> None:
    results, directory = run
    for row in results.rows:
        assert row.latency is not None
        assert [each.streams for each in row.latency.by_streams] == [1, 2]
    assert "Best streams" in (directory / "report.md").read_text(encoding="utf-8")


def test_there_is_one_decision_at_the_top_of_the_report(run: tuple[RunResults, Path]) -> None:
    results, directory = run
    (choice,) = results.choices
    assert (choice.model, choice.batch_size, choice.device, choice.reference) == ("net", 1, "CPU", OV)
    # 64 images prove nothing about PTQ: the candidates are the FP32 rows.
    assert {choice.fastest, *choice.as_fast} <= {ORT, OV}
    assert choice.smallest in {ORT, OV}
    markdown, page = ((directory / name).read_text(encoding="utf-8") for name in ("report.md", "report.html"))
    (decision,) = results.decisions
    assert (decision.model, decision.batch_size) == ("net", 1)
    for text in (markdown, page):
        assert text.index("Decision") < text.index("net on onnxruntime, batch 1")
        assert "Engines compared" in text
    assert RunResults.load(directory / "results.json") == results
