"""Verdicts on latency: one row against FP32 and the noise, and all rows of a run at once."""

import math

import numpy as np
import pytest
from oracles.comparisons import faster

from harness.results import Row, Variant
from harness.timing.samples import AA_CONTROL, ProcessRounds, Round, Timings
from harness.verdicts.latency import is_clear, judge_latency, judge_speedup, speedups


def timings(processes=6, spread=0.002, seed=0, control_spread=None, **ratios):
    """Sessions that are `ratio` times as fast as `fp32` with its 1 ms, up to a spread from process to process."""
    rng = np.random.default_rng(seed)
    blocks = []
    for process in range(processes):
        ms = {name: math.exp(rng.normal(0, spread)) / ratio for name, ratio in ratios.items()}
        ms[AA_CONTROL] = math.exp(rng.normal(0, spread if control_spread is None else control_spread))
        rounds = tuple(
            Round({"fp32": np.array([1.0]), **{name: np.array([each]) for name, each in ms.items()}}) for _ in "12"
        )
        blocks.append(ProcessRounds(0, process, rounds))
    return Timings(blocks)


def judge(data, name="net", margin=0.01, analyses=1):
    return judge_speedup(data, "fp32", name, confidence=0.95, margin=margin, analyses=analyses)


class TestOneRow:
    @pytest.mark.parametrize(
        ("ratio", "verdict"), [(1.3, "better"), (1.05, "better"), (1.0, "same"), (0.95, "worse"), (0.5, "worse")]
    )
    def test_clear_cases(self, ratio, verdict):
        found = judge(timings(net=ratio))
        assert found.own_verdict.verdict == verdict
        assert found.own_verdict.p_value < 0.05
        assert found.ci[0] < ratio < found.ci[1]

    def test_the_twins_spread_is_the_noise_floor(self):
        # Twin ratios of exp(+-0.02): se = 0.02 * sqrt(2) / sqrt(2) = 0.02 with two processes; t(0.975, 1) = 12.706.
        blocks = [
            ProcessRounds(
                0, process, (Round({"fp32": np.array([1.0]), "net": np.array([1.0]), AA_CONTROL: np.array([ms])}),)
            )
            for process, ms in enumerate([math.exp(0.02), math.exp(-0.02)])
        ]
        assert judge(Timings(blocks)).noise_floor == pytest.approx(math.exp(12.7062 * 0.02) - 1, rel=1e-4)

    def test_in_a_noisy_session_a_small_difference_is_not_proven(self):
        assert judge(timings(net=1.05)).own_verdict.p_value < 0.05
        assert judge(timings(net=1.05, control_spread=0.08)).own_verdict.p_value > 0.05

    def test_without_a_twin_there_is_no_noise_floor(self):
        blocks = [
            ProcessRounds(0, process, (Round({"fp32": np.array([1.0]), "net": np.array([ms])}),))
            for process, ms in enumerate([0.5, 0.51, 0.5])
        ]
        assert judge(Timings(blocks)).noise_floor is None

    def test_the_interval_pays_for_the_looks(self):
        data = timings(net=1.2)
        once, often = judge(data).ci, judge(data, analyses=5).ci
        assert often[0] < once[0] < once[1] < often[1]


class TestStopping:
    def clear(self, data, comparisons=1):
        return is_clear(data, "fp32", confidence=0.95, margin=0.01, analyses=5, comparisons=comparisons)

    def test_when_every_session_has_its_word(self):
        assert self.clear(timings(a=1.4, b=1.0))
        assert not self.clear(timings(a=1.4, b=1.01))  # on the edge of the margin

    def test_rows_of_another_target_need_a_word_against_their_own_fp32_too(self):
        own = {"other": "other", "b": "other"}
        data = timings(other=1.3, b=1.313)  # against `other`, on the edge of the margin
        assert self.clear(data)
        assert not is_clear(data, "fp32", confidence=0.95, margin=0.01, analyses=5, comparisons=1, own_references=own)

    def test_the_word_must_stand_among_all_of_the_run(self):
        data = timings(processes=4, spread=0.004, a=1.05)
        assert self.clear(data)
        assert not self.clear(data, comparisons=200)


class TestSeveralTargets:
    def test_each_is_judged_against_the_common_reference_and_its_own(self):
        own = {"fp32": "fp32", "a": "fp32", "other": "other", "b": "other"}
        assert speedups(["fp32", "a", "other", "b", AA_CONTROL], "fp32", own) == [
            ("fp32", "a"),
            ("fp32", "other"),
            ("fp32", "b"),
            ("other", "b"),
        ]

    def test_a_reference_that_was_not_timed_judges_nothing(self):
        assert speedups(["fp32", "b"], "fp32", {"b": "other"}) == [("fp32", "b")]

    def test_the_noise_is_that_of_the_common_reference(self):
        """Against `other` the twin, a copy of `fp32`, is twice as slow; that is no noise."""
        found = judge_speedup(
            timings(other=2.0, b=4.0), "other", "b", confidence=0.95, margin=0.01, aa_control_of="fp32"
        )
        assert found.noise_floor < 0.01
        assert found.estimate.ratio == pytest.approx(2.0, rel=0.01)


def row(number, p_value, verdict):
    variant = Variant(id=f"v{number}", model="net", method="ptq", target="onnxruntime", batch_size=1)
    latency = {
        "median_ms": 1.0,
        "p90_ms": None,
        "p99_ms": None,
        "n": 9,
        "rounds": 3,
        "throughput_per_s": 1e3,
        "threads": 1,
        "includes_transfers": False,
        "comparison": faster(1.5, p_value=p_value),
        "own_verdict": verdict,
    }
    return Row.model_validate({"variant": variant, "status": "ok", "latency": latency})


class TestAllRows:
    def test_holm_takes_back_what_many_comparisons_bring_by_luck(self):
        # Adjusted: 3 * 0.001, then 2 * 0.03, then 0.04 raised to the one before it.
        rows = judge_latency([row(1, 0.03, "better"), row(2, 0.001, "worse"), row(3, 0.04, "same")], confidence=0.95)
        found = [(each.latency.comparison.p_value_adjusted, each.latency.verdict) for each in rows]
        assert found == [
            (pytest.approx(0.06), "inconclusive"),
            (pytest.approx(0.003), "worse"),
            (pytest.approx(0.06), "inconclusive"),
        ]

    def test_speedups_across_targets_are_of_the_same_family(self):
        plain = row(1, 0.03, "better")
        across = row(1, 0.01, "better").latency
        both = plain.model_copy(update={"latency": plain.latency.model_copy(update={"across": across})})
        (found, other) = judge_latency([both, row(2, 0.04, "same")], confidence=0.95)
        # Adjusted: 3 * 0.01, then 2 * 0.03, then 0.04 raised to the one before it.
        assert found.latency.across.comparison.p_value_adjusted == pytest.approx(0.03)
        assert found.latency.across.verdict == "better"
        assert (found.latency.comparison.p_value_adjusted, found.latency.verdict) == (
            pytest.approx(0.06),
            "inconclusive",
        )
        assert (other.latency.comparison.p_value_adjusted, other.latency.verdict) == (
            pytest.approx(0.06),
            "inconclusive",
        )

    def test_without_correction_each_stands_alone(self):
        rows = judge_latency([row(1, 0.03, "better"), row(2, 0.06, "same")], confidence=0.95, correction="none")
        assert [each.latency.verdict for each in rows] == ["better", "inconclusive"]

    def test_rows_that_were_not_timed_stay_as_they_are(self):
        variant = Variant(id="x", model="net", method="ptq", target="onnxruntime", batch_size=1)
        plain = Row(variant=variant, status="unavailable", reason="not here")
        assert judge_latency([plain], confidence=0.95) == [plain]
