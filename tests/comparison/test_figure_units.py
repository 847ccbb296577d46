"""Every figure, against everything that it can be compared with, is printed in its own unit."""

from __future__ import annotations

import pytest
from oracles.comparisons import dropped, interval
from oracles.recorded_runs import FP32, PTQ, recorded

from harness.comparison.gate_figures import paired_with_fp32
from harness.comparison.gates import gate_message, judge_gates
from harness.figures import catalog, figure, read
from harness.results import Gate, MetricValue
from harness.scenario.gates import GateSpec
from harness.words.phrases import TIMES

UNITLESS = ("max_abs_error", "disagreements", "ties")
ROW = recorded().snapshot().rows[PTQ]
MEASURED = [name for name in catalog() if read(ROW, name) is not None]
SHOWN = {"share": "%", "x": TIMES}


@pytest.mark.parametrize("name", catalog())
def test_every_figure_has_a_unit_or_is_known_to_have_none(name: str) -> None:
    assert bool(figure(name).unit) != name.endswith(UNITLESS)


@pytest.mark.parametrize("relation", [None, "of", "below", "above"])
@pytest.mark.parametrize("name", catalog())
def test_a_multiple_has_no_unit_and_all_else_has_the_figures_own(name: str, relation: str | None) -> None:
    unit = figure(name).unit
    gate = Gate(
        variant=PTQ,
        metric=name,
        limit="at most 1",
        value=0.5,
        verdict="fail",
        interval=interval(0.25, 0.75),
        compared_with=None if relation is None else FP32,
        relation=relation,
        unit=unit,
        bound=1.0,
    )
    text = gate_message(gate).split(": ", 2)[2].split(";")[0]
    is_difference = relation in ("below", "above") or name.endswith("drop")
    shown = "points" if unit == "share" and is_difference else SHOWN.get(unit, unit)
    if relation == "of":
        assert text == f"{name} is 0.5 times that of {FP32} (0.25 times to 0.75 times)"
    else:
        assert text.count(f" {shown}" if shown and shown != TIMES else shown or "0.") >= 3
    assert (f"{relation} that of {FP32}" in text) == (relation in ("below", "above"))


@pytest.mark.parametrize("reference", ["fp32", "baseline"])
@pytest.mark.parametrize("relation", ["of", "below", "above"])
@pytest.mark.parametrize("name", MEASURED)
def test_gates_say_what_they_compared(name: str, relation: str, reference: str) -> None:
    if reference == "fp32" and figure(name).compares_with_fp32:
        pytest.skip("compares with FP32 by itself: refused when it is read")
    run = recorded().snapshot()
    spec = GateSpec.model_validate({"metric": name, "at_least": 1e9, relation: reference})
    (found,) = judge_gates([spec], run, recorded().snapshot("base"))
    if found.value is not None:
        assert (found.relation, found.unit) == (relation, figure(name).unit)
        assert (" times that of" in gate_message(found)) == (relation == "of")


class TestPairs:
    @pytest.mark.parametrize("higher", [True, False])
    def test_a_metric_of_the_task_is_judged_on_its_own_paired_interval(self, higher: bool) -> None:
        run = recorded()
        wide = {"unit": "share", "higher_is_better": higher, "interval": interval(0.1, 0.9), "is_quality": True}
        run.rows[FP32] = run.rows[FP32].model_copy(update={"metrics": {"mean_iou": MetricValue(value=0.5, **wide)}})
        value = 0.49 if higher else 0.51
        compared = dropped(value, 0.01, (0.008, 0.012), reference=FP32, higher_is_better=higher)
        own = MetricValue(value=value, comparison=compared, **wide)
        run.rows[PTQ] = run.rows[PTQ].model_copy(update={"metrics": {"mean_iou": own}})
        relation = "below" if higher else "above"
        spec = GateSpec.model_validate({"metric": "metrics.mean_iou", "at_most": 0.02, relation: "fp32"})
        (found,) = judge_gates([spec], run.snapshot(), None)
        assert found.interval is not None and found.interval.ends == pytest.approx((0.008, 0.012))
        assert found.verdict == "pass"  # the two wide intervals could not tell

    def test_without_a_paired_interval_nothing_is_decided(self) -> None:
        run = recorded()
        plain = {"unit": "share", "higher_is_better": True, "interval": interval(0.5, 0.5)}
        run.rows[FP32] = run.rows[FP32].model_copy(update={"metrics": {"mean_iou": MetricValue(value=0.5, **plain)}})
        own = MetricValue(value=0.5, comparison=dropped(0.5, 0.0, reference=FP32), **plain)
        run.rows[PTQ] = run.rows[PTQ].model_copy(update={"metrics": {"mean_iou": own}})
        spec = GateSpec.model_validate({"metric": "metrics.mean_iou", "at_most": 0.02, "below": "fp32"})
        (found,) = judge_gates([spec], run.snapshot(), None)
        assert found.verdict == "inconclusive"
        assert found.reason is not None and "too few samples" in found.reason

    def test_top5_and_times_are_paired_too(self) -> None:
        run = recorded()
        fp32, ptq = run.rows[FP32].accuracy, run.rows[PTQ].accuracy
        assert fp32 is not None and ptq is not None
        run.rows[FP32] = run.rows[FP32].model_copy(
            update={"accuracy": fp32.model_copy(update={"top5": 0.9, "top5_interval": interval(0.8, 1.0)})}
        )
        compared = dropped(0.89, 0.01, (0.005, 0.015))
        top5 = {"top5": 0.89, "top5_interval": interval(0.79, 0.99), "top5_comparison": compared}
        run.rows[PTQ] = run.rows[PTQ].model_copy(update={"accuracy": ptq.model_copy(update=top5)})
        pair = paired_with_fp32(run.rows[PTQ], "accuracy.top5")
        assert pair is not None and pair.interval is not None and pair.interval.ends == (-0.015, -0.005)
        spec = GateSpec.model_validate({"metric": "latency.median_ms", "at_least": 0.3, "below": "fp32"})
        (found,) = judge_gates([spec], run.snapshot(), None)
        low, high = found.interval.ends if found.interval else (0.0, 0.0)
        assert found.value == pytest.approx(1 - 1 / 1.5) and low < found.value < high
        assert found.verdict == "pass"  # FP32 takes 1 ms; the ratio of the same rounds is 1.5, ± 1 %
