"""Comparison of two runs: planted regressions are found, named and explained; clean nights are quiet."""

import math
from dataclasses import replace

import numpy as np
import pytest
from oracles.recorded_runs import ENVIRONMENT, FP32, PTQ, recorded, right

from harness.comparison.compare_runs import CompareOptions, compare_runs, sections_named
from harness.errors import UsageError
from harness.report.comparison import change_messages, changes_table
from harness.words.changes import UNEXPLAINED, sentence, status_sentence
from harness.words.phrases import TIMES

STAGES = ("train", "calibrate", "quantize", "export", "build")


def compare(base, new, **options):
    sides = [{run.scenario: run.snapshot()} for run in (base, new)]
    return compare_runs(sides[0], sides[1], CompareOptions(**options))


def finding(comparison, metric, variant=PTQ):
    (found,) = [each for each in comparison.findings if (each.metric, each.variant) == (metric, variant)]
    return found


def stages(changed):
    """Keys of which those from `changed` on are others."""
    return {stage: "1" * 12 if STAGES.index(stage) >= STAGES.index(changed) else "0" * 12 for stage in STAGES}


def environment(**packages):
    return ENVIRONMENT | {"packages": ENVIRONMENT["packages"] | packages}


class TestCleanNights:
    def test_the_same_run_twice_is_the_same_in_everything(self):
        found = compare(recorded(), recorded())
        assert {each.verdict for each in found.findings} == {"same"}
        assert found.status_changes == ()
        assert (found.exit_code(), found.exit_code(strict=True)) == (0, 0)

    def test_the_level_of_the_intervals_is_said(self):
        run = recorded().snapshot()
        strict = replace(run, results=run.results.model_copy(update={"confidence": 0.99}))
        table = changes_table(compare_runs({"tiny": run}, {"tiny": strict}))
        assert table.headings[-1] == "99 % interval"

    def test_outputs_that_stay_nan_are_no_change(self):
        run = recorded().add(PTQ, sqnr_db=-math.inf)
        found = finding(compare(run, run), "parity.torch_vs_engine.sqnr_db")
        assert (found.verdict, found.change) == ("same", 0.0)

    @pytest.mark.parametrize(
        ("before", "after", "verdict", "text"),
        [
            (45.0, -math.inf, "worse", "SQNR 45 dB, now NaN or infinity"),
            (-math.inf, 45.0, "better", "SQNR NaN or infinity, now 45 dB"),
            (math.inf, 40.0, "worse", "SQNR fell by 20 dB, 40 dB after identical"),
        ],
    )
    def test_an_sqnr_without_end_is_said_in_words(self, before, after, verdict, text):
        runs = [recorded().add(PTQ, sqnr_db=sqnr_db) for sqnr_db in (before, after)]
        found = finding(compare(*runs), "parity.torch_vs_engine.sqnr_db")
        assert found.verdict == verdict
        assert text in sentence(found)
        assert type(found).model_validate_json(found.model_dump_json()) == found

    def test_every_kind_of_figure_is_judged(self):
        found = compare(recorded(), recorded())
        judged = {each.metric for each in found.findings if each.variant == PTQ}
        assert judged == {
            *("accuracy.top1", "latency.speedup", "coverage.int8_macs"),
            *("size.onnx_bytes", "size.engine_bytes", "size.weight_bytes"),
            *("parity.torch_vs_engine.sqnr_db", "parity.torch_vs_engine.top1_agreement"),
        }

    def test_twenty_nights_with_noise_raise_no_alarm(self):
        rng = np.random.default_rng(1)
        base = recorded()
        for _ in range(20):
            night = recorded().add(PTQ, speedup=1.5 * float(np.exp(rng.normal(0, 0.007))), width=0.014)
            assert compare(base, night).exit_code() == 0

    def test_an_engine_that_is_byte_for_byte_the_same_needs_no_proof(self):
        # With few samples the interval of no difference is wider than the margin.
        run = recorded().add(PTQ, engine="e" * 12)
        found = finding(compare(run, run), "accuracy.top1")
        assert (found.verdict, found.comparison.p_value) == ("same", None)
        assert "byte for byte" in found.note


class TestPlanted:
    """Each is what a night with one fault records; the message must name variant and cause."""

    def test_accuracy_after_calibration_on_noise(self):
        night = recorded(calibration_sha256="d" * 64).add(
            PTQ, correct=right(lost=60), stages=stages("calibrate"), sqnr_db=44.0
        )
        found = compare(recorded(), night)
        accuracy = finding(found, "accuracy.top1")
        assert (accuracy.verdict, accuracy.is_paired, found.exit_code()) == ("worse", True, 1)
        assert accuracy.change == pytest.approx(-0.06)
        text = sentence(accuracy)
        assert text.startswith(f"{PTQ}: top-1 fell by 6.00 points (")
        assert "84.00 % after 90.00 %" in text
        assert "`calibrate` is the first stage whose settings, inputs, code or libraries changed" in text
        assert "datasets.fashion_mnist.calibration is 64 samples, sha256 dddddddddddd" in text

    def test_latency_of_one_engine_that_is_ten_percent_slower(self):
        night = recorded().add(PTQ, speedup=1.5 / 1.10, engine="e" * 12)
        other = "net-ptq-mse-onnxruntime-b1"
        base = recorded().add(PTQ, engine="e" * 12).add(other)
        found = compare(base, night.add(other))
        assert [(each.variant, each.metric) for each in found.with_verdict("worse")] == [(PTQ, "latency.speedup")]
        text = sentence(finding(found, "latency.speedup"))
        assert text.startswith(f"{PTQ}: slower by 10.0 % (8.")
        assert f"1.36{TIMES} the speed of FP32 after 1.50{TIMES}" in text
        assert UNEXPLAINED in text

    def test_latency_after_another_version_of_the_engine(self):
        night = recorded(environment=environment(onnxruntime="1.33.0")).add(
            PTQ, speedup=1.5 / 1.10, stages=stages("build")
        )
        found = finding(compare(recorded(), night), "latency.speedup")
        assert found.verdict == "worse"
        assert "packages.onnxruntime is 1.33.0, before 1.32.0" in found.causes
        assert any("`build` is the first stage" in cause for cause in found.causes)

    def test_a_speedup_that_fell_because_fp32_became_faster_says_so(self):
        night = recorded()
        night.add(FP32, fp32_ms=0.8).add(PTQ, speedup=1.2, fp32_ms=0.8)
        found = finding(compare(recorded(), night), "latency.speedup")
        assert found.verdict == "worse"
        assert "FP32's own median went from 1.00 ms to 0.800 ms" in found.causes

    def test_size_when_weights_stay_fp32(self):
        night = recorded().add(
            PTQ,
            float_weights=("layer1.conv",),
            stages=stages("export"),
            stored_bytes={"FLOAT": 2_900, "INT8": 300},
        )
        base = recorded().add(PTQ, stored_bytes={"FLOAT": 100, "INT8": 1_000})
        found = compare(base, night)
        sizes = {each.metric for each in found.with_verdict("worse")}
        assert sizes == {"size.onnx_bytes", "size.engine_bytes", "size.weight_bytes"}
        text = sentence(finding(found, "size.weight_bytes"))
        # 300 bytes of INT8 and 4 x 700 of FP32 instead of 1,000.
        assert f"{PTQ}: size.weight_bytes rose by 210.0 %" in text
        assert "weights are float in the engine, int8 before: layer1.conv" in text
        assert "the ONNX file stores 2.83 KiB of FP32 weights" in text
        (told,) = [line for line in change_messages(found) if line.startswith(f"regression: {PTQ}: size")]
        assert all(f"{size} rose by" in told for size in sizes)

    def test_coverage_when_one_conv_is_skipped(self):
        night = recorded().add(PTQ, floats={"layer1.conv": "skipped"}, stages=stages("quantize"))
        found = finding(compare(recorded(), night), "coverage.int8_macs")
        assert (found.verdict, found.change) == ("worse", pytest.approx(-0.7))
        text = sentence(found)
        assert "INT8 coverage fell by 70.00 points, 30.00 % after 100.00 %" in text
        assert "no longer INT8: layer1.conv (skipped)" in text

    def test_parity_when_a_step_gets_lossy(self):
        night = recorded().add(PTQ, sqnr_db=12.0, correct=right(lost=60))
        found = compare(recorded(), night)
        assert finding(found, "parity.torch_vs_engine.sqnr_db").verdict == "worse"
        assert "the step torch to engine got lossier: 12.0 dB after 45.0 dB" in finding(found, "accuracy.top1").causes

    def test_rounding_of_float_kernels_is_no_loss_of_parity(self):
        runs = [recorded().add(PTQ, sqnr_db=sqnr_db) for sqnr_db in (129.0, 110.0)]
        assert finding(compare(*runs), "parity.torch_vs_engine.sqnr_db").verdict == "same"

    def test_a_variant_that_vanished(self):
        night = recorded()
        del night.rows[PTQ], night.material[PTQ]
        found = compare(recorded(), night)
        (change,) = found.status_changes
        assert (change.kind, change.variant, change.is_regression) == ("vanished", PTQ, True)
        assert found.exit_code() == 1

    def test_a_scenario_that_vanished(self):
        gone = recorded(scenario="other")
        base = {"tiny": recorded().snapshot(), "other": gone.snapshot()}
        found = compare_runs(base, {"tiny": recorded().snapshot()})
        (change,) = found.status_changes
        assert (change.kind, change.scenario, change.variant) == ("vanished", "other", None)
        assert "scenario other vanished" in status_sentence(change)
        assert found.exit_code() == 1

    @pytest.mark.parametrize("status", ["failed", "unavailable"])
    def test_a_variant_that_ran_and_does_not_now(self, status):
        night = recorded().add(PTQ, status=status, reason="build: out of memory")
        found = compare(recorded(), night)
        (change,) = found.status_changes
        assert (change.kind, change.is_regression, found.exit_code()) == ("failing", True, 1)
        assert status_sentence(change) == f"{PTQ} is {status}, before ok: build: out of memory"

    def test_a_new_variant_that_fails(self):
        night = recorded().add("net-qat-onnxruntime-b1", status="failed", reason="finetune: diverged")
        found = compare(recorded(), night)
        (change,) = found.status_changes
        assert (change.kind, change.is_regression, found.exit_code()) == ("failing", True, 1)
        assert "is new and failed: finetune: diverged" in status_sentence(change)

    def test_a_new_variant_that_works_is_told_and_no_regression(self):
        found = compare(recorded(), recorded().add("net-qat-onnxruntime-b1"))
        (change,) = found.status_changes
        assert (change.kind, change.is_regression, found.exit_code()) == ("new", False, 0)

    def test_a_variant_that_failed_before_and_still_does_is_no_news(self):
        runs = [recorded().add(PTQ, status="failed", reason="as ever") for _ in range(2)]
        assert compare(*runs).status_changes == ()


class TestImprovements:
    def test_an_unexplained_one_is_told(self):
        found = compare(recorded(), recorded().add(PTQ, speedup=1.5 * 1.12))
        assert found.exit_code() == 0
        (message,) = [text for text in change_messages(found) if text.startswith("improvement")]
        assert message.startswith(f"improvement, unexplained: {PTQ}: faster by 10.7 %")  # 1 - 1 / 1.12
        assert UNEXPLAINED in message

    def test_an_explained_one_names_its_cause(self):
        base = recorded().add(PTQ, floats={"head": "no kernel"})
        found = finding(compare(base, recorded()), "coverage.int8_macs")
        assert found.verdict == "better"
        assert "INT8 now, not before: head" in found.causes


class TestProof:
    def test_a_small_loss_within_the_margin_is_the_same(self):
        found = finding(compare(recorded(), recorded().add(PTQ, correct=right(lost=1))), "accuracy.top1")
        assert found.verdict == "inconclusive"  # 1 of 1,000: -0.1 points, down to -0.6

    def test_what_one_figure_alone_would_prove_is_luck_among_many(self):
        # Seven samples lost, none won: p = 2 / 2^7 = 0.0156.
        alone = compare(recorded(), recorded().add(PTQ, correct=right(lost=7)), sections=frozenset({"accuracy"}))
        base, new = recorded(), recorded().add(PTQ, correct=right(lost=7))
        for number in range(8):
            for run in (base, new):
                run.add(f"net-ptq-{number}-onnxruntime-b1")
        many = compare(base, new, sections=frozenset({"accuracy"}))
        # FP32 and PTQ make two tests; 10 with the others.
        assert finding(alone, "accuracy.top1").comparison.p_value_adjusted == pytest.approx(2 * 0.015625)
        assert finding(alone, "accuracy.top1").verdict == "worse"
        assert finding(many, "accuracy.top1").comparison.p_value_adjusted == pytest.approx(10 * 0.015625)
        assert finding(many, "accuracy.top1").verdict == "inconclusive"

    def test_strict_asks_for_a_clear_answer(self):
        found = compare(recorded(), recorded().add(PTQ, correct=right(lost=4)))
        assert (found.exit_code(), found.exit_code(strict=True)) == (0, 4)

    def test_without_samples_of_the_base_the_comparison_is_unpaired_and_wider(self):
        base, new = recorded(), recorded().add(PTQ, correct=right(lost=20))
        paired = finding(compare(base, new), "accuracy.top1")
        base.material = {}
        unpaired = finding(compare(base, new), "accuracy.top1")
        assert (paired.verdict, paired.is_paired) == ("worse", True)
        assert (unpaired.verdict, unpaired.is_paired) == ("inconclusive", False)

    def test_a_figure_that_is_no_longer_measured_is_undecided(self):
        found = finding(compare(recorded(), recorded().add(PTQ, speedup=None)), "latency.speedup")
        assert found.verdict == "inconclusive"
        assert "was not measured" in found.note

    def test_noise_of_a_session_hides_what_it_could_have_made(self):
        base, new = recorded(), recorded().add(PTQ, speedup=1.5 / 1.10)
        noisy = new.rows[PTQ].latency.model_copy(update={"noise_floor": 0.15})
        new.rows[PTQ] = new.rows[PTQ].model_copy(update={"latency": noisy})
        assert finding(compare(base, new), "latency.speedup").verdict == "inconclusive"


class TestConditions:
    def another_cpu(self):
        return ENVIRONMENT | {"cpu": ENVIRONMENT["cpu"] | {"model": "AMD EPYC 9R14"}}

    def test_times_of_different_cpus_are_refused_with_the_way_out(self):
        with pytest.raises(UsageError) as caught:
            compare(recorded(), recorded(environment=self.another_cpu()))
        assert "AMD EPYC 9R14" in caught.value.message
        assert "`--only accuracy,size,coverage,parity" in caught.value.fix
        assert caught.value.exit_code == 2

    def test_accuracy_is_judged_all_the_same_when_it_is_asked_for_alone(self):
        new = recorded(environment=self.another_cpu()).add(PTQ, correct=right(lost=60))
        found = compare(recorded(), new, sections=sections_named(["accuracy", "size"]))
        assert finding(found, "accuracy.top1").verdict == "worse"
        assert not found.is_forced

    def test_force_judges_everything_and_says_so(self):
        found = compare(recorded(), recorded(environment=self.another_cpu()), force=True)
        assert found.is_forced
        assert finding(found, "latency.speedup").verdict == "same"
        assert found.conditions[0].severity == "refuse"

    def test_other_test_samples_refuse_accuracy(self):
        with pytest.raises(UsageError, match="different samples"):
            compare(recorded(), recorded(test_sha256="8" * 64))

    def test_another_library_is_a_warning(self):
        found = compare(recorded(), recorded(environment=environment(torch="2.14.0")))
        assert [(each.severity, each.what) for each in found.conditions] == [("warn", "packages.torch")]

    def test_an_unknown_figure_names_the_nearest(self):
        with pytest.raises(UsageError) as caught:
            sections_named(["latncy"])
        assert caught.value.fix == "did you mean `latency`?"


def test_a_selection_keeps_the_others_out():
    night = recorded()
    del night.rows[PTQ]
    found = compare(recorded(), night, select=lambda variant: variant.method == "fp32")
    assert {each.variant for each in found.findings} == {FP32}
    assert found.status_changes == ()
