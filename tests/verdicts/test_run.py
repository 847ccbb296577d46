"""Verdicts are given in one place, once, for all rows of a run."""

from __future__ import annotations

import pytest
from oracles.comparisons import compared_as, dropped, faster

from harness.results import MetricValue, Parity, ParityStep, Row
from harness.verdicts.run import judge_run

TESTS = {"margin": 0.005, "non_inferiority_p_value": 1.0, "non_superiority_p_value": 0.0001}


def metric(drop: float, p_value: float) -> MetricValue:
    ends = (drop - 0.01, drop + 0.01)
    compared = dropped(0.8, drop, ends, p_value=p_value, **TESTS)
    return MetricValue(value=0.8, unit="share", higher_is_better=True, is_quality=True, comparison=compared)


def undecided(row: Row) -> Row:
    """As metrics leave it: the evidence without a verdict."""
    assert row.accuracy is not None and row.latency is not None
    accuracy = compared_as(row.accuracy, verdict=None, **TESTS)
    latency = row.latency.model_copy(
        update={"comparison": faster(1.5, (1.4, 1.6), p_value=0.001), "own_verdict": "better"}
    )
    step = ParityStep(
        start="onnx_quantized",
        end="engine",
        top1_agreement=0.9,
        max_abs_error=1.0,
        sqnr_db=20.0,
        n=1000,
        comparison=dropped(0.8, 0.05, (0.03, 0.07), confidence=0.9875, p_value=0.0001),
    )
    return row.model_copy(update={"accuracy": accuracy, "latency": latency, "parity": Parity(steps=(step,))})


def test_every_kind_of_comparison_is_judged(lab) -> None:
    fp32, row = judge_run([lab.row("fp32"), undecided(lab.row("ptq", lost=300))], confidence=0.95, correction="holm")
    assert (row.accuracy.verdict, row.accuracy.comparison.family_size) == ("worse", 1)
    assert (row.latency.verdict, row.latency.comparison.family_size) == ("better", 1)
    assert row.parity.steps[0].loses
    assert row.parity.lossy_step == "onnx_quantized → engine"
    assert (fp32.accuracy.verdict, fp32.latency.verdict) == (None, None)


def test_a_step_that_gains_is_better_and_not_lossy(lab) -> None:
    row = undecided(lab.row("ptq"))
    gain = compared_as(row.parity.steps[0], difference=0.05, interval=row.parity.steps[0].comparison.interval)
    low, high = gain.comparison.loss_interval
    mirrored = gain.comparison.interval.model_copy(update={"low": low, "high": high})
    parity = Parity(steps=(compared_as(gain, interval=mirrored),))
    (judged,) = judge_run([row.model_copy(update={"parity": parity})], confidence=0.95, correction="holm")
    assert judged.parity.steps[0].comparison.verdict == "better"
    assert judged.parity.lossy_step is None


def test_metrics_beside_top1_are_a_family_of_their_own(lab) -> None:
    """Holm: of two p-values of 0.02 and 0.04 the smaller is doubled, the larger is raised to it."""
    metrics = {"a": metric(0.05, 0.02), "b": metric(0.05, 0.04)}
    row = undecided(lab.row("ptq", lost=300)).model_copy(update={"metrics": metrics})
    (judged,) = judge_run([row], confidence=0.95, correction="holm")
    assert judged.accuracy.comparison.family_size == 1
    found = [each.comparison for each in judged.metrics.values()]
    assert [each.family_size for each in found] == [2, 2]
    assert [each.p_value_adjusted for each in found] == pytest.approx([0.04, 0.04])
    assert [each.verdict for each in found] == ["worse", "worse"]
