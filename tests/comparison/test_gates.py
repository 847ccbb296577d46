"""Gates: proven kept, proven broken, or neither, on the interval of each figure."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracles.comparisons import faster
from oracles.recorded_runs import FP32, PTQ, QAT, recorded, right

from harness.comparison.gates import NO_VARIANT, gate_message, gate_messages, judge_gates, worst_exit_code
from harness.scenario.gates import GateSpec
from harness.stats.clusters import estimate_ratio
from harness.stats.intervals import wilson_interval
from harness.words.phrases import TIMES


def judge(run, *gates, baseline=None, confidence=0.95):
    specs = [GateSpec.model_validate(gate) for gate in gates]
    stored = None if baseline is None else baseline.snapshot("stored")
    return judge_gates(specs, run.snapshot(), stored, baseline_file=Path("baselines/b.json"), confidence=confidence)


def _measured(template, number, logs):
    """A row with the speedup that four processes found, as `harness.verdicts.latency` has it with one look."""
    estimate = estimate_ratio([[np.array([log]) for log in logs]])
    compared = faster(estimate.ratio, estimate.interval(0.95))
    update = {"comparison": compared, "processes": 4, "analyses": 1}
    variant = template.variant.model_copy(update={"id": f"v{number}"})
    return template.model_copy(update={"variant": variant, "latency": template.latency.model_copy(update=update)})


def only(run, gate, **fields):
    (found,) = judge(run, gate, **fields)
    return found


class TestIntervals:
    """A drop of 1.0 point; the interval of 10 lost samples of 1,000 is about 0.5 to 1.8."""

    @pytest.mark.parametrize(("limit", "verdict"), [(0.03, "pass"), (0.012, "inconclusive"), (0.001, "fail")])
    def test_the_whole_interval_decides(self, limit, verdict):
        found = only(recorded().add(PTQ, correct=right(lost=10)), {"metric": "accuracy.drop", "at_most": limit})
        assert found.value == pytest.approx(0.01)
        assert found.interval is not None and 0.001 < found.interval.low < 0.012 < found.interval.high < 0.03
        assert found.verdict == verdict

    @pytest.mark.parametrize(("limit", "verdict"), [(1.4, "pass"), (1.5, "inconclusive"), (1.6, "fail")])
    def test_so_it_does_for_a_smallest_value(self, limit, verdict):
        found = only(recorded(), {"metric": "speedup", "at_least": limit})
        assert found.metric == "latency.speedup"
        assert found.verdict == verdict

    @pytest.mark.parametrize(("limit", "verdict"), [(1.0, "pass"), (1.001, "fail")])
    def test_exact_figures_are_never_undecided(self, limit, verdict):
        assert only(recorded(), {"metric": "coverage.int8_macs", "at_least": limit}).verdict == verdict

    def test_a_figure_whose_interval_is_not_known_says_so(self):
        found = only(recorded(), {"metric": "latency.p90_ms", "at_most": 5})
        assert found.verdict == "pass"
        assert found.interval is None
        assert "no interval of this figure is known" in found.reason

    def test_agreement_has_the_interval_of_a_share_at_the_confidence_of_the_run(self):
        gate = GateSpec.model_validate({"metric": "parity.torch_vs_engine.top1_agreement", "at_least": 0.99})
        run = recorded().snapshot()
        strict = replace(run, results=run.results.model_copy(update={"confidence": 0.9999}))
        (found,) = judge_gates([gate], strict, None, confidence=0.9999)
        assert found.interval.ends == pytest.approx(wilson_interval(997, 1000, 0.9999))
        assert found.verdict == "inconclusive"  # at 95 % it passes

    def test_agreement_has_the_interval_of_a_share(self):
        found = only(recorded(), {"metric": "parity.torch_vs_engine.top1_agreement", "at_least": 0.99})
        # Wilson of 997 of 1,000.
        assert found.interval.ends == pytest.approx((0.9912, 0.9990), abs=5e-5)
        assert found.verdict == "pass"


class TestFamilies:
    def test_a_breach_is_proven_for_all_variants_of_the_gate_at_once(self):
        # The interval ends 2 % of its arm beyond the limit: proof for one variant, luck among twenty.
        limit = 1.5 * 1.0102
        alone = only(recorded(), {"metric": "speedup", "at_least": limit})
        many = recorded()
        for number in range(19):
            many.add(f"net-ptq-{number}-onnxruntime-b1", speedup=3.0)
        gates = judge(many, {"metric": "speedup", "at_least": limit})
        assert alone.verdict == "fail"
        assert [gate.verdict for gate in gates] == ["inconclusive", *["pass"] * 19]

    @pytest.mark.slow
    def test_four_processes_have_long_tails(self):
        """All 20 variants stand right at the limit: one is called broken in at most 2.5 % of runs."""
        rng, limit, alarms = np.random.default_rng(0), 1.5, 0
        logs = rng.normal(math.log(limit), 0.01, size=(200, 20, 4))
        gate = GateSpec.model_validate({"metric": "speedup", "at_least": limit})
        for run in logs:
            found = recorded().snapshot()
            template = found.rows[PTQ]
            rows = tuple(_measured(template, number, processes) for number, processes in enumerate(run))
            results = found.results.model_copy(update={"rows": rows})
            alarms += any(each.verdict == "fail" for each in judge_gates([gate], replace(found, results=results), None))
        assert alarms <= 11  # 5 expected; more with probability 0.005; normal tails gave 28

    def test_a_clear_breach_stays_proven(self):
        many = recorded().add(PTQ, speedup=1.0)
        for number in range(19):
            many.add(f"net-ptq-{number}-onnxruntime-b1", speedup=3.0)
        assert [gate.verdict for gate in judge(many, {"metric": "speedup", "at_least": 1.4})].count("fail") == 1


class TestAgainstFP32:
    def test_a_multiple_of_a_size_is_exact(self):
        # 1000 bytes of INT8 weights and 400 of file, against 4000 + 400 of FP32.
        found = only(recorded(), {"metric": "size.engine_bytes", "at_most": 0.32, "of": "fp32"})
        assert found.value == pytest.approx(1400 / 4400)
        assert (found.verdict, found.compared_with, found.limit) == ("pass", FP32, "at most 0.32 of fp32")

    def test_time_as_a_multiple_of_fp32_is_that_of_the_same_rounds(self):
        found = only(recorded(), {"metric": "latency.median_ms", "at_most": 0.7, "of": "fp32"})
        assert found.value == pytest.approx(1 / 1.5)
        assert found.interval.ends == pytest.approx((1 / 1.515075, 1 / 1.485075), rel=1e-5)
        assert found.verdict == "pass"

    def test_accuracy_below_fp32_is_paired(self):
        found = only(recorded().add(PTQ, correct=right(lost=10)), {"metric": "top1", "at_most": 0.02, "below": "fp32"})
        assert found.value == pytest.approx(0.01)
        # Two separate shares of 1,000 would have an interval of about ± 2.7 points.
        assert found.interval.high - found.interval.low < 0.02
        assert found.verdict == "pass"

    def test_fp32_rows_are_judged_when_they_are_named_only(self):
        assert [gate.variant for gate in judge(recorded(), {"metric": "top1", "at_least": 0.8})] == [PTQ]
        named = {"metric": "top1", "at_least": 0.8, "select": "method=fp32"}
        assert [gate.variant for gate in judge(recorded(), named)] == [FP32]


class TestAgainstTheBaseline:
    def test_accuracy_is_paired_with_the_stored_samples(self):
        found = only(
            recorded().add(PTQ, correct=right(lost=30)),
            {"metric": "top1", "at_most": 0.01, "below": "baseline"},
            baseline=recorded(),
        )
        assert found.value == pytest.approx(0.03)
        assert found.interval.high - found.interval.low < 0.03
        assert (found.verdict, found.compared_with) == ("fail", "baselines/b.json")

    @pytest.mark.parametrize(("slower", "verdict"), [(1.0, "pass"), (1.06, "inconclusive"), (1.2, "fail")])
    def test_times_compare_as_multiples_of_fp32_in_each_session(self, slower, verdict):
        # The machine is twice as slow today, for both rows.
        today = recorded().add(PTQ, speedup=1.5 / slower, fp32_ms=2.0)
        gate = {"metric": "latency.median_ms", "at_most": 1.05, "of": "baseline"}
        found = only(today, gate, baseline=recorded())
        assert found.value == pytest.approx(slower)
        assert found.verdict == verdict

    def test_a_missing_baseline_is_told_with_the_command(self):
        found = only(recorded(), {"metric": "size.engine_bytes", "at_most": 1.0, "of": "baseline"})
        assert found.verdict == "inconclusive"
        assert "baselines/b.json" in found.reason and "harness baseline save" in found.reason

    def test_other_test_samples_are_not_compared(self):
        gate = {"metric": "top1", "at_most": 0.01, "below": "baseline"}
        found = only(recorded(test_sha256="8" * 64), gate, baseline=recorded())
        assert found.verdict == "inconclusive"
        assert "different samples" in found.reason


class TestWithoutFigures:
    @pytest.mark.parametrize(
        ("status", "reason"), [("failed", "build: out of memory"), ("unavailable", "no such engine here")]
    )
    def test_a_row_without_the_figure_gives_its_reason(self, status, reason):
        run = recorded().add(PTQ, status=status, reason=reason)
        found = only(run, {"metric": "top1", "at_least": 0.1})
        assert (found.verdict, found.value) == ("inconclusive", None)
        assert found.reason == f"{status}: {reason}"

    def test_an_engine_that_was_only_built_has_sizes_but_no_accuracy(self):
        run = recorded().add(PTQ, status="built", reason="no GPU here")
        size, accuracy = judge(run, {"metric": "engine_bytes", "at_most": 2000}, {"metric": "top1", "at_least": 0.1})
        assert size.verdict == "pass"
        assert (accuracy.verdict, accuracy.reason) == ("inconclusive", "built: no GPU here")

    def test_what_was_not_measured_is_said(self):
        found = only(recorded().add(PTQ, speedup=None), {"metric": "speedup", "at_least": 1})
        assert "was not measured" in found.reason

    def test_a_gate_without_variants_is_no_pass(self):
        found = only(recorded(), {"metric": "top1", "at_least": 0.1, "select": "method=qat"})
        assert (found.variant, found.verdict) == (NO_VARIANT, "inconclusive")


class TestExitCodes:
    def test_only_a_proven_breach_fails_and_strict_asks_for_more(self):
        run = recorded()
        passes, undecided, fails = (judge(run, {"metric": "speedup", "at_least": limit}) for limit in (1.4, 1.5, 1.6))
        assert [worst_exit_code(gates, strict=False) for gates in (passes, undecided, fails)] == [0, 0, 1]
        assert [worst_exit_code(gates, strict=True) for gates in (passes, undecided, fails)] == [0, 4, 1]
        assert worst_exit_code((*undecided, *fails), strict=True) == 1

    def test_the_message_names_variant_figure_value_interval_and_limit(self):
        found = only(recorded(), {"metric": "latency.median_ms", "at_most": 0.5, "of": "fp32"})
        assert gate_message(found) == (
            f"gate fail: {PTQ}: latency.median_ms is 0.666667 times that of {FP32} "
            "(0.660033 times to 0.673367 times); it must be at most 0.5 of fp32"
        )

    def test_variants_without_a_figure_share_a_message_when_the_reason_is_one(self):
        run = recorded().add(PTQ, speedup=1.5).add(QAT, status="unavailable", reason="no tensorrt")
        other = "net-qat-tensorrt-b1"
        run.add(other, status="unavailable", reason="no tensorrt")
        gates = judge(run, {"metric": "speedup", "at_least": 2}, {"metric": "top1", "at_least": 0})
        assert gate_messages(gates, "tiny") == [
            f"gate fail: tiny, {PTQ}: latency.speedup is 1.5{TIMES} (1.48507{TIMES} to 1.51508{TIMES}); "
            "it must be at least 2",
            f"gate inconclusive: tiny, {QAT}, {other}: latency.speedup must be at least 2, "
            "accuracy.top1 must be at least 0; unavailable: no tensorrt",
        ]
