"""Files of earlier versions are still read: `files/*-v1.*` were written by version 1, and stay as they are.

Each holds three rows of the quickstart (FP32, PTQ, QAT) with a metric of a segmentation task beside them; the QAT row
has a speedup whose interval has no end, and was put under load.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.comparison.compare_runs import compare_runs
from harness.comparison.snapshot import Snapshot
from harness.comparison.sources import read_baseline
from harness.figures import catalog, read
from harness.history.database import append, entries
from harness.history.trends import trends
from harness.report.flat import frame
from harness.report.render import html_text, markdown_text
from harness.results import Row, RunResults
from harness.results.sensitivity import SensitivityRecord
from harness.results.upgrade import upgraded_baseline, upgraded_results, upgraded_row
from harness.words.phrases import TIMES

FILES = Path(__file__).parent / "files"
FP32, PTQ, QAT = (
    "resnet8-fp32-onnxruntime-b1",
    "resnet8-ptq-max-perchannel-onnxruntime-b1",
    "resnet8-qat-percentile99.99-perchannel-onnxruntime-b1",
)


def plain(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / name).read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def results() -> RunResults:
    return RunResults.load(FILES / "results-v1.json")


@pytest.fixture(scope="module")
def baseline() -> Snapshot:
    return read_baseline(FILES / "baseline-v1.json")


def test_no_row_knew_the_peak_of_its_cpu(results: RunResults) -> None:
    assert all(row.latency is not None and row.latency.share_of_peak is None for row in results.rows)
    assert "Of peak" not in markdown_text(results)


def check(row: Row, stored: dict[str, Any], rel: float) -> None:
    """The figures of a row are those that stand in the file, with their intervals."""
    accuracy, latency = stored["accuracy"], stored["latency"]
    step = stored["parity"]["steps"][1]
    metric = stored["metrics"]["mean_iou"]
    expected = [
        ("accuracy.top1", accuracy["top1"], accuracy["top1_ci95"]),
        ("accuracy.drop", accuracy["drop"], accuracy["drop_ci95"]),
        ("accuracy.top5_drop", accuracy["top5_drop"], accuracy["top5_drop_ci95"]),
        ("accuracy.agreement", accuracy["agreement"], accuracy["agreement_ci95"]),
        ("latency.median_ms", latency["median_ms"], latency["median_ci95"]),
        ("latency.speedup", latency["speedup"], latency["speedup_ci95"]),
        (f"parity.{step['start']}_to_{step['end']}.drop", step["drop"], None),
        (f"parity.{step['start']}_to_{step['end']}.top1", step["top1"], None),
        ("metrics.mean_iou", metric["value"], metric["ci95"]),
    ]
    for name, value, interval in expected:
        found = read(row, name)
        assert found is not None, name
        assert found.value == pytest.approx(value, rel=rel), name
        ends = None if interval is None else [float(str(end).replace("Infinity", "inf")) for end in interval]
        assert (None if found.interval is None else list(found.interval.ends)) == (
            ends and pytest.approx(ends, rel=rel)
        )


@pytest.mark.parametrize("variant", [PTQ, QAT])
def test_figures_of_a_run_are_those_of_the_file(results: RunResults, variant: str) -> None:
    (stored,) = (row for row in plain("results-v1.json")["rows"] if row["variant"]["id"] == variant)
    check(results.row(variant), stored, rel=1e-12)


@pytest.mark.parametrize("variant", [PTQ, QAT])
def test_figures_of_a_baseline_are_those_of_the_file(baseline: Snapshot, variant: str) -> None:
    check(baseline.rows[variant], plain("baseline-v1.json")["variants"][variant]["row"], rel=1e-9)


def test_the_interval_without_an_end_is_kept(results: RunResults) -> None:
    found = read(results.row(QAT), "latency.speedup")
    assert found is not None and found.interval is not None
    assert found.interval.ends == (0.0, math.inf)


def test_a_report_is_rendered_from_it(results: RunResults) -> None:
    text = markdown_text(results)
    assert f"1.55{TIMES} (1.51 to 1.58)" in text
    assert "83.40 %" in text
    assert "mean_iou, share" in text
    assert html_text(results).count("<h2") > 5
    flat = frame(results).set_index("id")
    assert flat.loc[PTQ, "drop"] == pytest.approx(0.003)
    assert flat.loc[PTQ, "accuracy_verdict"] == "inconclusive"
    assert flat.loc[PTQ, "latency_verdict"] == "better"


def test_a_run_is_compared_with_a_baseline_of_version_1(results: RunResults, baseline: Snapshot) -> None:
    found = compare_runs({"small": baseline}, {"small": Snapshot("new", results, {})})
    assert {"accuracy.top1", "latency.speedup", "metrics.mean_iou"} <= {each.metric for each in found.findings}
    assert not found.regressions


def test_what_is_saved_again_is_the_same(results: RunResults, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert RunResults.load(tmp_path / "results.json") == results


def test_a_history_of_version_1_is_read_and_goes_on(results: RunResults, tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes((FILES / "history-v1.sqlite").read_bytes())
    stored = entries(path)
    assert {each.figure.metric for each in stored} >= {"accuracy.drop", "latency.speedup", "metrics.mean_iou"}
    assert append(path, [results]) == 0  # the same run, whatever version read it
    later = results.model_copy(update={"run_id": "later", "started_at": "2030-01-01T00:00:00+00:00"})
    assert append(path, [later]) == 1
    followed = {trend.metric: trend for trend in trends(entries(path)) if trend.variant == PTQ}
    assert [len(followed[name].entries) for name in ("accuracy.top1", "latency.speedup", "metrics.mean_iou")] == [2] * 3
    old, new = followed["latency.speedup"].entries
    assert (new.figure.value, new.figure.low, new.figure.high) == (old.figure.value, old.figure.low, old.figure.high)


def test_every_figure_of_the_history_is_in_the_catalogue() -> None:
    names = {each.figure.metric for each in entries(FILES / "history-v1.sqlite")}
    assert {name for name in names if not name.startswith("metrics.")} <= set(catalog())


def leaves(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


@pytest.mark.parametrize("wrong", ["text", None, 10**400, [1], {"a": 1}, True, -1e200])
def test_damaged_records_of_version_1_raise_nothing_but_that_they_do_not_fit(wrong: Any) -> None:
    stored = plain("results-v1.json")["rows"][1]
    for section in ("accuracy", "latency", "parity", "metrics"):
        for path in leaves(stored[section]):
            row = copy.deepcopy(stored)
            holder, key = row, section
            for part in path:
                holder, key = holder[key], part
            holder[key] = wrong
            with suppress(ValidationError):  # many are harmless, such as another text for a name
                Row.model_validate(upgraded_row(row, 0.95))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"schema_version": 3}', b'{"schema_version": "1"}', b"\xff"])
def test_what_is_not_of_an_earlier_version_is_left_alone(text: bytes) -> None:
    assert upgraded_results(text) is text
    assert upgraded_baseline(text) is text


def test_the_level_of_the_parity_steps_is_that_of_their_chain(results: RunResults) -> None:
    parity = results.row(PTQ).parity
    assert parity is not None
    levels = {
        step.comparison.interval.confidence for step in parity.steps if step.comparison and step.comparison.interval
    }
    assert levels == {1 - 0.05 / len(parity.steps)}


def test_earlier_names_of_latency_fields_and_of_the_own_toolkit_are_read(results: RunResults) -> None:
    row = results.row(PTQ)
    assert row.latency is not None and row.variant.toolkit == "harness"
    earlier = row.plain()
    earlier["variant"]["toolkit"] = "torchao"
    latency = earlier["latency"]
    latency["claim"], latency["looks"] = latency.pop("own_verdict"), 5
    del latency["analyses"]
    read_again = Row.model_validate(earlier)
    assert read_again.variant == row.variant
    assert read_again.latency == row.latency.model_copy(update={"analyses": 5})


def test_comparisons_of_version_1_have_their_reference_and_verdict(results: RunResults) -> None:
    row = results.row(PTQ)
    assert row.accuracy is not None and row.accuracy.comparison is not None
    assert row.latency is not None and row.latency.comparison is not None
    top1, speedup = row.accuracy.comparison, row.latency.comparison
    assert (top1.reference, speedup.reference) == (FP32, FP32)
    assert (top1.value, top1.reference_value) == (pytest.approx(0.834), pytest.approx(0.837))
    assert (top1.verdict, speedup.verdict, row.latency.own_verdict) == ("inconclusive", "better", "better")
    assert speedup.difference == pytest.approx(speedup.value - 1)
    metric = row.metrics["mean_iou"].comparison
    assert metric is not None and metric.loss == pytest.approx(metric.reference_value - metric.value)
    assert results.row(FP32).accuracy.comparison is None


@pytest.mark.parametrize("version", [1, 2])
def test_gates_of_versions_1_and_2_have_the_interval_of_the_confidence_of_their_run(
    tmp_path: Path, version: int
) -> None:
    stored = plain("results-v1.json")
    gate = {"variant": PTQ, "metric": "accuracy.drop", "limit": "at most 0.01", "verdict": "pass", "value": 0.004}
    gates = [gate | {"interval": [0.001, 0.007]}, gate | {"interval": [1.2, "Infinity"]}, gate]
    rows = [] if version == 2 else stored["rows"]
    (tmp_path / "results.json").write_text(
        json.dumps(stored | {"schema_version": version, "confidence": 0.9, "rows": rows, "gates": gates})
    )
    found = RunResults.load(tmp_path / "results.json").gates
    assert [each.interval and (*each.interval.ends, each.interval.confidence) for each in found] == [
        (0.001, 0.007, 0.9),
        (1.2, math.inf, 0.9),
        None,
    ]


def test_a_sensitivity_analysis_of_version_1_is_read() -> None:
    """Written by version 1 for a network whose first layer must be skipped; the environment was left out."""
    stored = plain("sensitivity-v1.json")["analyses"][0]
    (analysis,) = SensitivityRecord.load(FILES / "sensitivity-v1.json").analyses
    search, trials = analysis.search, stored["search"]["trials"]
    assert search is not None and search.chosen is not None and search.chosen_interval is not None
    judged = [
        *(each.judged for each in search.trials),
        search.chosen.judged,
        analysis.quantized,
        analysis.layers[0].alone,
    ]
    written = [*trials, stored["search"]["chosen"], {"judged": stored["quantized"]}]
    written = [*(each["judged"] for each in written), stored["layers"][0]["alone"]]
    for now, then in zip(judged, written, strict=True):
        assert now is not None and now.interval is not None
        assert (now.value, now.loss, now.p_value) == (then["top1"], pytest.approx(then["drop"]), then["p_value"])
        assert now.loss_interval == pytest.approx(then["drop_ci"])
        assert now.reference_value == pytest.approx(stored["fp32_top1"])
        assert now.interval.confidence == search.confidence
    low, high = stored["search"]["chosen_ci"]
    assert search.chosen_interval.ends == pytest.approx((-high, -low))
    assert search.chosen_interval.confidence == pytest.approx(1 - (1 - search.confidence) / len(trials))
    assert analysis.n == trials[0]["judged"]["n"]
