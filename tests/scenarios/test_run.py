"""One tiny scenario from the file to the report: what it must find out, keep, share and survive."""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.errors import StageError
from harness.report import render
from harness.results import Row, RunResults
from harness.runs.preparation import Prepared, RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario
from harness.stats.intervals import holm
from harness.targets import get_target
from harness.timing.samples import AA_CONTROL, Timings
from harness.verdicts.latency import judge_speedup

pytestmark = pytest.mark.slow  # trains and exports real networks

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """\
name: tiny
question: Does everything fit together?
dataset:
  source: fashion_mnist
  location: embedded
  train_samples: 200
  calibration_samples: 70
  test_samples: 100
models:
  net: {factory: models/resnet.py:resnet8, args: {width: 4}}
training: {max_epochs: 1, batch_size: 50, augmentations: []}
targets:
  onnxruntime: {threads: 1}
matrix:
  method: [fp32, ptq]
  calibrator: [max, entropy]
  include:
    - {method: qat, calibrator: max}
    - {method: ptq, calibrator: max, toolkit: onnxruntime}
    - {method: ptq, calibrator: max, weight_bits: 4}
measurement: {warmup_s: 0.01, round_s: 0.01, rounds_per_process: 4, min_processes: 2, max_processes: 3, budget_s: 20}
"""
FP32 = "net-fp32-onnxruntime-b1"
PTQ_MAX = "net-ptq-max-perchannel-onnxruntime-b1"
PTQ_ENTROPY = "net-ptq-entropy-perchannel-onnxruntime-b1"
PTQ_OTHER = "net-ptq-onnxruntime-max-perchannel-onnxruntime-b1"
QAT = "net-qat-max-perchannel-onnxruntime-b1"
SIMULATED = "net-ptq-max-perchannel-w4a8-onnxruntime-b1"
INTEGER = (PTQ_MAX, PTQ_ENTROPY, PTQ_OTHER, QAT)
MARGIN, CONFIDENCE = 0.01, 0.95
"""Defaults of `verdict.latency_margin` and `verdict.confidence`."""
LOOKS = 2
"""After two processes and after three."""


@dataclass(frozen=True)
class Run:
    """One finished run and where it lies."""

    directory: Path
    prepared: Prepared
    results: RunResults
    written: Sequence[Path]

    def row(self, variant_id: str) -> Row:
        return self.results.row(variant_id)

    def stages(self, name: str) -> list[Any]:
        return [stage for stage in self.results.stages if stage.stage == name]


Start = Callable[..., Run]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Runs the scenario (with texts replaced) in a project of its own; all runs share one store."""
    project = tmp_path_factory.mktemp("project")
    (project / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "resnet.py", project / "models")
    store = Store(project / "store")

    def run(name: str, *replaced: tuple[str, str], only: str | None = None) -> Run:
        text = SCENARIO
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = project / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        directory = project / "reports" / name
        directory.mkdir(parents=True)
        select = None if only is None else lambda variant: variant.method == only
        options = RunOptions(jobs=1, isolation="none", select=select)
        prepared = prepare_run(load_scenario(path), options)
        results = run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore))
        return Run(directory, prepared, results, render(results, directory))

    with pytest.MonkeyPatch.context() as patch:
        # Never wait for a measurement that goes on elsewhere on this machine: the times here are of no interest.
        patch.setenv("HARNESS_MEASURING_LOCK", str(project / "measuring.lock"))
        yield run


@pytest.fixture(scope="module")
def first(start: Start) -> Run:
    """The run that makes everything."""
    return start("first")


@pytest.fixture(scope="module")
def again(start: Start, first: Run) -> Run:
    """The same scenario once more."""
    return start("again")


class TestRows:
    def test_every_variant_of_the_matrix_has_its_row(self, first: Run) -> None:
        statuses = {row.variant.id: row.status for row in first.results.rows}
        assert statuses == dict.fromkeys((FP32, *INTEGER), "ok") | {SIMULATED: "simulated"}

    @pytest.mark.parametrize("variant", INTEGER)
    def test_all_multiply_accumulates_of_quantized_rows_are_integer(self, first: Run, variant: str) -> None:
        coverage = first.row(variant).coverage
        assert coverage is not None
        assert coverage.int8_macs == 1.0
        done, _, every = coverage.int8_layers.partition("/")
        assert done == every
        assert "Conv" not in {layer.op for layer in coverage.layers}

    def test_no_multiply_accumulate_of_the_fp32_row_is_integer(self, first: Run) -> None:
        coverage = first.row(FP32).coverage
        assert coverage is not None
        assert coverage.int8_macs == 0.0
        # resnet8: stem, two convolutions in each of 3 blocks, two 1x1 shortcuts, head.
        assert coverage.int8_layers == f"0/{1 + 3 * 2 + 2 + 1}"

    @pytest.mark.parametrize("variant", [FP32, PTQ_MAX, PTQ_ENTROPY, QAT])
    def test_the_engine_decides_as_the_torch_network_does(self, first: Run, variant: str) -> None:
        parity = first.row(variant).parity
        assert parity is not None
        assert parity.torch_vs_engine is not None
        assert parity.torch_vs_engine.n == 100
        assert parity.torch_vs_engine.top1_agreement >= 0.98

    def test_a_simulated_row_has_accuracy_and_nothing_that_needs_an_engine(self, first: Run) -> None:
        row = first.row(SIMULATED)
        assert row.accuracy is not None
        assert (row.latency, row.size, row.coverage) == (None, None, None)
        assert row.parity is not None
        assert [step.end for step in row.parity.steps] == ["onnx_fp32", "torch_quantized"]
        assert row.files.keys() == {"log", "predictions", "top_classes"}
        assert row.reason is not None
        assert "no integer kernels" in row.reason

    def test_only_the_others_are_judged_against_fp32(self, first: Run) -> None:
        for row in first.results.rows:
            assert row.accuracy is not None
            is_reference = row.variant.id == FP32
            compared = row.accuracy.comparison
            assert (compared.reference if compared else None) == (None if is_reference else FP32)
            assert (row.accuracy.verdict is None) == is_reference

    def test_integer_weights_are_smaller(self, first: Run) -> None:
        sizes = {variant: first.row(variant).size for variant in (FP32, *INTEGER)}
        fp32 = sizes.pop(FP32)
        assert fp32 is not None
        network = onnx.load(first.directory / first.row(FP32).files["onnx"])
        weights = sum(math.prod(tensor.dims) for tensor in network.graph.initializer if len(tensor.dims) > 1)
        for size in sizes.values():
            assert size is not None
            # One byte instead of four for weights, four still for biases and scales. On some CPUs the float engine
            # pads its channels, so that it is even larger.
            assert weights < size.weight_bytes < fp32.weight_bytes / 2


class TestCalibration:
    def test_it_consumed_exactly_the_calibration_samples(self, first: Run) -> None:
        # 70 is no multiple of any batch size.
        assert first.results.calibration_samples == {"net for onnxruntime": 70}

    @pytest.mark.parametrize("variant", [PTQ_MAX, PTQ_ENTROPY, QAT, SIMULATED])
    def test_each_variant_was_served_by_one_pass(self, first: Run, variant: str) -> None:
        cost = first.row(variant).cost
        assert cost is not None
        assert cost.data_passes == 1

    def test_it_was_one_task_for_all(self, first: Run) -> None:
        (calibrate,) = first.stages("calibrate")
        assert set(calibrate.variants) == {PTQ_MAX, PTQ_ENTROPY, QAT, SIMULATED}

    def test_so_was_training(self, first: Run) -> None:
        (train,) = first.stages("train")
        assert set(train.variants) == {FP32, *INTEGER, SIMULATED}

    def test_calibrators_give_different_networks(self, first: Run) -> None:
        models = {(first.directory / first.row(variant).files["onnx"]).read_bytes() for variant in INTEGER}
        assert len(models) == len(INTEGER)


class TestFiles:
    def test_results_are_what_was_returned(self, first: Run) -> None:
        assert RunResults.load(first.directory / "results.json") == first.results

    @pytest.mark.parametrize(
        ("variant", "name"),
        [
            (FP32, f"{FP32}_1x1x28x28_fp32.onnx"),
            (PTQ_MAX, f"{PTQ_MAX}_1x1x28x28_ptq.onnx"),
            (PTQ_OTHER, f"{PTQ_OTHER}_1x1x28x28_ptq.onnx"),
            (QAT, f"{QAT}_1x1x28x28_qat.onnx"),
        ],
    )
    def test_onnx_files_are_named_after_variant_input_and_method(self, first: Run, variant: str, name: str) -> None:
        assert first.row(variant).files["onnx"] == f"models/{name}"
        onnx.checker.check_model(str(first.directory / "models" / name))

    def test_every_engine_is_kept(self, first: Run) -> None:
        for variant in (FP32, *INTEGER):
            row = first.row(variant)
            assert row.size is not None
            assert (first.directory / row.files["engine"]).stat().st_size == row.size.engine_bytes
            assert (first.directory / row.files["onnx"]).stat().st_size == row.size.onnx_bytes

    def test_the_trained_weights_are_kept_for_other_scenarios(self, first: Run) -> None:
        (weights,) = first.results.fp32_weights
        assert (weights.model, weights.file) == ("net", "weights/net.safetensors")
        content = (first.directory / "weights" / "net.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == weights.sha256

    def test_top1_follows_from_the_predictions(self, first: Run) -> None:
        predictions = pd.read_parquet(first.directory / "samples" / "predictions.parquet")
        assert list(predictions.columns) == ["label", "label_name", *(row.variant.id for row in first.results.rows)]
        for row in first.results.rows:
            assert row.accuracy is not None
            assert row.accuracy.n == len(predictions) == 100
            assert row.accuracy.top1 == pytest.approx((predictions[row.variant.id] == predictions["label"]).mean())

    def test_top5_and_recall_follow_from_the_files(self, first: Run) -> None:
        files = first.row(QAT).files
        top = pd.read_parquet(first.directory / files["top_classes"])
        predictions = pd.read_parquet(first.directory / files["predictions"])
        for row in first.results.rows:
            assert row.accuracy is not None
            mine = top[top["variant"] == row.variant.id]
            hits = mine["class"] == predictions["label"].to_numpy()[mine["sample"]]
            assert row.accuracy.top5 == pytest.approx(hits.sum() / len(predictions))
            right = predictions[row.variant.id] == predictions["label"]
            recalls = right.groupby(predictions["label"]).mean().to_dict()
            assert {each.label: each.recall for each in row.accuracy.classes} == pytest.approx(recalls)

    def test_confusions_follow_from_the_predictions(self, first: Run) -> None:
        predictions = pd.read_parquet(first.directory / "samples" / "predictions.parquet")
        for row in first.results.rows:
            assert row.accuracy is not None
            wrong = predictions[predictions[row.variant.id] != predictions["label"]]
            counted = wrong.groupby(["label", row.variant.id], observed=True).size().to_dict()
            assert {(each.label, each.predicted): each.n for each in row.accuracy.confusions} == counted

    def test_histograms_count_what_calibration_saw_and_ranges_are_those_of_the_files(self, first: Run) -> None:
        (found,) = first.results.calibrations
        assert (found.model, found.place) == ("net", "onnxruntime")
        assert {each.n for each in found.tensors if each.name == "x"} == {70 * 28 * 28}
        assert all(sum(each.counts) == each.n for each in found.tensors)
        ranges = {name: each.amax for each in found.ranges for name in each.variants}
        assert {PTQ_MAX, PTQ_ENTROPY, QAT, SIMULATED} == ranges.keys()
        largest = {each.name: max(-each.minimum, each.maximum) for each in found.tensors}
        assert all(ranges[PTQ_MAX][name] <= 1.01 * largest[name] for name in largest)
        assert ranges[PTQ_ENTROPY] != ranges[PTQ_MAX]

    def test_the_structure_names_layers_as_the_audit_does(self, first: Run) -> None:
        (network,) = first.results.networks
        coverage = first.row(PTQ_MAX).coverage
        assert coverage is not None
        assert {layer.name for layer in coverage.layers if layer.macs} <= {each.name for each in network.operators}

    def test_every_row_has_a_log_of_its_stages(self, first: Run) -> None:
        for row in first.results.rows:
            text = (first.directory / row.files["log"]).read_text(encoding="utf-8")
            assert text.count("computed in") > 3
        assert "calibrate_s" in (first.directory / first.row(PTQ_MAX).files["log"]).read_text(encoding="utf-8")

    def test_p_values_are_corrected_for_all_compared_rows(self, first: Run) -> None:
        compared = [row.accuracy.comparison for row in first.results.rows if row.accuracy and row.accuracy.comparison]
        assert [each.family_size for each in compared] == [5] * 5
        assert tuple(each.p_value_adjusted for each in compared) == holm([each.p_value or 0.0 for each in compared])

    def test_medians_follow_from_the_timed_inferences(self, first: Run) -> None:
        samples = pd.read_parquet(first.directory / "samples" / "latency.parquet")
        assert set(samples["session"]) == {FP32, *INTEGER, AA_CONTROL}
        for variant in (FP32, *INTEGER):
            latency = first.row(variant).latency
            ms = samples.loc[samples["session"] == variant, "ms"]
            assert latency is not None
            assert first.row(variant).files["latency_samples"] == "samples/latency.parquet"
            assert latency.n == len(ms)
            assert latency.median_ms == pytest.approx(np.median(ms))
            assert latency.distribution_ms == pytest.approx(np.quantile(ms, (0.05, 0.25, 0.5, 0.75, 0.95)))

    def test_speedups_and_noise_follow_from_the_timed_inferences(self, first: Run) -> None:
        timings = Timings.from_parquet(first.directory / "samples" / "latency.parquet")
        latency = first.row(QAT).latency
        assert latency is not None
        judged = judge_speedup(timings, FP32, QAT, confidence=CONFIDENCE, margin=MARGIN, analyses=LOOKS)
        assert latency.speedup == pytest.approx(judged.estimate.ratio)
        assert latency.speedup_interval.ends == pytest.approx(judged.ci)
        assert latency.comparison.p_value == pytest.approx(judged.own_verdict.p_value)
        assert latency.processes == len(timings.blocks)
        assert latency.noise_floor == pytest.approx(judged.noise_floor)

    def test_the_report_is_written(self, first: Run) -> None:
        assert [path.name for path in first.written] == ["report.html", "report.md", "results.csv"]
        html = (first.directory / "report.html").read_text(encoding="utf-8")
        assert "Does everything fit together?" in html
        assert QAT in html


class TestSecondRun:
    def test_only_measuring_is_done_again(self, again: Run) -> None:
        assert {stage.stage for stage in again.results.stages if not stage.cached} == {"measure"}
        assert {stage.stage for stage in again.results.stages if stage.cached} >= {
            "train",
            "calibrate",
            "quantize",
            "finetune",
            "export",
            "build",
            "evaluate",
        }

    def test_all_that_is_not_timed_is_the_same(self, first: Run, again: Run) -> None:
        for old, new in zip(first.results.rows, again.results.rows, strict=True):
            assert new.model_copy(update={"latency": old.latency}) == old

    def test_calibration_is_accounted_for_although_it_did_not_run(self, again: Run) -> None:
        assert again.results.calibration_samples == {"net for onnxruntime": 70}


def test_another_calibrator_and_another_percentile_cost_no_data_pass(start: Start, first: Run) -> None:
    more = start(
        "more",
        ("  calibrator: [max, entropy]", "  calibrator: [max, entropy, mse, percentile]\n  percentile: [99.9, 99.99]"),
    )
    assert [stage.cached for stage in more.stages("calibrate")] == [True]
    new = [row for row in more.results.rows if row.variant.calibrator in ("mse", "percentile")]
    assert len(new) == 3
    assert {row.cost.data_passes for row in new if row.cost is not None} == {1}


def test_other_training_makes_everything_again_that_depends_on_it(start: Start, first: Run) -> None:
    changed = start("changed", ("batch_size: 50", "batch_size: 40"), only="fp32")
    # What the CPU does at most does not depend on it.
    assert [stage.stage for stage in changed.results.stages if stage.cached] == ["peak"]


def test_each_group_keeps_its_own_noise_measurement(start: Start, first: Run) -> None:
    run = start("groups", ("  method: [fp32, ptq]", "  method: [fp32, ptq]\n  batch_size: [1, 2]"), only="fp32")
    ids = [row.variant.id for row in run.results.rows]
    assert ids == [FP32, FP32.replace("-b1", "-b2")]
    samples = pd.read_parquet(run.directory / "samples" / "latency.parquet")
    sessions = {str(group): set(part["session"]) for group, part in samples.groupby("group")}
    assert sessions == {variant: {variant, AA_CONTROL} for variant in ids}


@pytest.fixture(scope="module")
def failed(start: Start, first: Run) -> Iterator[Run]:
    """One engine cannot be built; two threads instead of one make new builds necessary."""
    target = get_target("onnxruntime")
    build = type(target).build
    unbuildable = (first.directory / first.row(PTQ_ENTROPY).files["onnx"]).read_bytes()

    def sometimes(self: Any, onnx_path: Path, directory: Path, options: Any) -> Any:
        if onnx_path.read_bytes() == unbuildable:
            raise StageError("node `stem.conv` has no kernel", fix="skip it")
        return build(self, onnx_path, directory, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(target), "build", sometimes)
        yield start("failed", ("threads: 1", "threads: 2"))


class TestResources:
    def test_every_engine_that_ran_has_its_memory(self, first: Run) -> None:
        for row in first.results.rows:
            assert (row.memory is not None) == (row.status == "ok")
            if row.memory is not None:
                assert row.memory.increase_bytes == row.memory.peak_bytes - row.memory.baseline_bytes

    def test_every_stage_that_made_a_variant_has_its_peak(self, first: Run) -> None:
        cost = first.row(QAT).cost
        assert cost is not None
        assert set(cost.peak_bytes) == {"train", "calibrate", "quantize", "finetune", "export", "build"}
        assert min(cost.peak_bytes.values()) > 50 * 1024**2  # Python with torch

    def test_energy_is_a_figure_or_a_reason(self, start: Start, first: Run) -> None:
        budget = "budget_s: 20}"
        run = start(
            "energy",
            (budget, "budget_s: 20, latency: false, energy: true, energy_s: 0.3, energy_idle_s: 0.1}"),
            only="fp32",
        )
        energy = run.row(FP32).energy
        assert energy is not None
        assert (energy.joules_per_inference is None) == (energy.reason is not None)
        assert all(row.energy is None for row in first.results.rows)  # not asked for

    def test_the_record_holds_seeds_and_threads(self, first: Run) -> None:
        environment = first.results.environment
        assert environment["seeds"] == {"scenario": 0}
        assert environment["threads"] == {"onnxruntime": 1}


class TestFailure:
    def test_its_row_says_why(self, failed: Run) -> None:
        row = failed.row(PTQ_ENTROPY)
        assert row.status == "failed"
        assert row.reason is not None
        assert "node `stem.conv` has no kernel" in row.reason
        assert "skip it" in row.reason
        assert f"build {PTQ_ENTROPY}" in row.reason
        assert (row.latency, row.coverage) == (None, None)

    def test_the_others_are_complete(self, failed: Run) -> None:
        for variant in (FP32, PTQ_MAX, PTQ_OTHER, QAT):
            row = failed.row(variant)
            assert row.status == "ok"
            assert row.accuracy is not None
            assert row.latency is not None
            assert row.latency.threads == 2

    def test_its_report_tells_it(self, failed: Run) -> None:
        assert "has no kernel" in (failed.directory / "report.html").read_text(encoding="utf-8")


class TestBuilds:
    def test_processes_take_the_builds_in_turn(self, start: Start) -> None:
        run = start("builds", ("budget_s: 20}", "budget_s: 20, builds: 2}"), only="fp32")
        timings = Timings.from_parquet(run.directory / "samples" / "latency.parquet")
        latency = run.row(FP32).latency
        assert [block.build for block in timings.blocks][:2] == [0, 1]
        assert latency is not None and latency.builds == 2
        assert len(run.stages("build")) == 1  # the variant's own; the other build serves the measuring alone
