"""The decision on a model: every outcome, why, and what is not proven."""

import pytest
from oracles.comparisons import dropped, faster, interval

from harness.results import ClassAccuracy, EngineChoice, MetricValue, RunResults, Speedup
from harness.verdicts.seeds import seed_spreads
from harness.words.conclusions import conclude
from harness.words.decision import decision_lines, decision_title, decisions_of, recommended_ids
from harness.words.phrases import MINUS, TIMES

PTQ, OV_PTQ = "net-ptq-max-True-harness", "net-ptq-max-True-harness-openvino"


def record(rows, correct=None, choices=()):
    return RunResults(
        scenario="made up",
        run_id="run",
        started_at="2026-01-01T00:00:00+00:00",
        wall_s=1.0,
        environment={},
        rows=tuple(rows),
        conclusions=conclude(rows, correct or {}),
        choices=choices,
        qat_seeds=seed_spreads(rows),
    )


def decided(rows, correct=None, choices=()):
    (found,) = decisions_of(record(rows, correct, choices))
    return found


def opened(found, unknown):
    (point,) = [point for point in found.open if point.unknown == unknown]
    return point


class TestShip:
    def test_the_answer_has_speed_size_and_accuracy_and_what_the_others_do(self, lab):
        rows = [
            lab.row("fp32"),
            lab.row("ptq", lost=5, won=1, ratio=7.0),
            lab.row("qat", lost=4, ratio=7.0),
            lab.row("ptq", calibrator="entropy", lost=1190, ratio=7.0),
        ]
        found = decided(rows, lab.correct)
        assert (found.outcome, found.variant, found.reference) == ("ship", PTQ, "net-fp32")
        # Four of 10,000 fewer are right; 102,400 of 307,200 bytes.
        assert found.headline.startswith(
            f"Ship PTQ max per-channel on onnxruntime: 7.00{TIMES} FP32, 0.33{TIMES} the bytes, top-1 {MINUS}0.04 ± 0.0"
        )
        assert found.headline.endswith("points (kept). QAT buys nothing here; PTQ entropy loses 11.90 points.")
        assert (found.speedup, found.loss, found.size_ratio) == (7.0, pytest.approx(0.0004), pytest.approx(1 / 3))
        assert found.why[0] == f"Faster: 7.00{TIMES} (6.93 to 7.07), 0.143 ms instead of 1.00 ms."
        assert found.why[1].startswith("Accuracy kept: top-1 loses at most 0.1")
        assert found.why[1].endswith("points on 10,000 test images; the margin is 0.5 points.")
        assert found.open == ()

    def test_where_qat_pays_is_told_although_no_engine_runs_it(self, lab):
        few_bits = {"weight_bits": 4, "activation_bits": 8, "status": "simulated"}
        rows = [
            lab.row("fp32"),
            lab.row("ptq", lost=5, won=1, ratio=7.0),
            lab.row("qat", lost=4, ratio=7.0),
            lab.row("ptq", lost=900, **few_bits),
            lab.row("qat", lost=90, **few_bits),
        ]
        found = decided(rows, lab.correct)
        assert found.headline.endswith(
            "QAT buys nothing here; QAT wins back 8.10 points with w4a8 that PTQ loses (simulated)."
        )
        (gain,) = found.simulated_qat_gains
        assert gain.comparison.difference == pytest.approx(0.081)

    def test_a_loss_in_a_class_belongs_to_it(self, lab):
        ptq = lab.row("ptq", lost=5, ratio=2.0)
        classes = tuple(
            ClassAccuracy(
                label=label,
                name=name,
                n=500,
                recall=0.9 - loss,
                interval=interval(0.8, 0.95),
                comparison=dropped(0.9 - loss, loss, (loss - 0.01, loss + 0.012), p_value=p_value),
            )
            for label, (name, loss, p_value) in enumerate([("shirt", 0.05, 1e-6), ("coat", 0.01, 0.4)])
        )
        ptq = ptq.model_copy(update={"accuracy": ptq.accuracy.model_copy(update={"classes": classes})})
        found = decided([lab.row("fp32"), ptq], lab.correct)
        assert found.outcome == "ship"
        assert [(each.name, each.loss) for each in found.class_losses] == [("shirt", pytest.approx(0.05))]
        assert "; but the class shirt 5.00 ± 1.20 points of recall provably lost." in found.headline

    def test_a_faster_row_that_is_undecided_is_an_open_point(self, lab, small_lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5, ratio=2.0)]
        rows.append(small_lab.row("ptq", lost=0, calibrator="mse", ratio=3.0).model_copy())
        found = decided(rows, lab.correct)
        assert found.variant == PTQ
        assert opened(found, "accuracy").variants == ("net-ptq-mse-True-harness",)

    def test_qat_is_shipped_where_ptq_loses_and_says_what_it_gains(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=300, ratio=2.0), lab.row("qat", lost=5, ratio=2.0)]
        found = decided(rows, lab.correct)
        assert found.headline.startswith("Ship QAT max per-channel on onnxruntime: ")
        assert found.headline.endswith("QAT gains 2.95 points over PTQ; PTQ max loses 3.00 points.")

    def test_of_several_seeds_the_median_one_is_shipped(self, lab):
        seeds = [lab.row("qat", lost=lost, ratio=2.0, qat_seed=seed) for seed, lost in ((1, 1), (2, 9), (3, 5))]
        seeds = [
            row.model_copy(update={"variant": row.variant.model_copy(update={"id": f"qat-{row.variant.qat_seed}"})})
            for row in seeds
        ]
        found = decided([lab.row("fp32"), *seeds])
        assert found.variant == "qat-3"
        assert found.headline.startswith("Ship QAT max per-channel seed 3 on onnxruntime (the median of 3 seeds): ")


class TestOverEngines:
    @pytest.fixture
    def rows(self, lab):
        rows = [
            lab.row(method, target=target, lost=0 if method == "fp32" else 5, ratio=ratio)
            for target, method, ratio in (
                ("onnxruntime", "fp32", 1.0),
                ("onnxruntime", "ptq", 2.0),
                ("openvino", "fp32", 1.0),
                ("openvino", "ptq", 2.1),
            )
        ]
        # All took turns with FP32 on ONNX Runtime.
        across = [
            Speedup(comparison=faster(ratio, reference="net-fp32", verdict="better")) if ratio else None
            for ratio in (None, 2.0, 1.1, 7.0)
        ]
        latencies = [row.latency.model_copy(update={"across": each}) for row, each in zip(rows, across, strict=True)]
        return [row.model_copy(update={"latency": each}) for row, each in zip(rows, latencies, strict=True)]

    @staticmethod
    def choice(**fields):
        return EngineChoice(model="net", batch_size=1, device="CPU", reference="net-fp32", **fields)

    def test_one_decision_for_all_of_them_against_the_reference(self, rows):
        choice = self.choice(verdict="best", best=OV_PTQ, fastest=OV_PTQ, smallest=PTQ, without_quantization="net-fp32")
        found = decided(rows, choices=(choice,))
        assert (found.outcome, found.variant, found.targets) == ("ship", OV_PTQ, ("onnxruntime", "openvino"))
        assert found.headline.startswith(
            f"Ship PTQ max per-channel on openvino: 7.00{TIMES} FP32 on onnxruntime, 0.33{TIMES} the bytes, top-1 "
        )
        assert "Smallest engine: PTQ max per-channel on onnxruntime, 100 KiB." in found.why

    def test_engines_that_cannot_be_told_apart_are_an_open_point(self, rows):
        choice = self.choice(verdict="undecided", fastest=OV_PTQ, as_fast=(PTQ,))
        found = decided(rows, choices=(choice,))
        # As much work and as large an engine: the first by name.
        assert (found.outcome, found.variant) == ("ship", PTQ)
        assert opened(found, "engine").variants == (OV_PTQ,)
        assert not any(line.startswith("Not proven slower") for line in found.why)
        assert "would be faster still: a larger `measurement.budget_s`" in opened(found, "engine").text

    def test_rows_that_a_damaged_choice_names_may_be_missing(self, rows):
        choice = self.choice(verdict="best", best="gone", fastest="gone", smallest="gone", without_quantization="gone")
        assert decided(rows, choices=(choice,)).outcome == "not_proven"

    def test_threads_that_differ_are_said(self, rows):
        more = rows[3].latency.model_copy(update={"threads": 4})
        choice = self.choice(verdict="best", best=OV_PTQ, fastest=OV_PTQ)
        found = decided([*rows[:3], rows[3].model_copy(update={"latency": more})], choices=(choice,))
        assert "Threads differ, as the scenario says: onnxruntime 1, openvino 4." in found.why

    def test_a_target_that_is_not_here_is_told_beside_the_others(self, rows, lab):
        gone = lab.row("fp32", target="tensorrt", status="unavailable").model_copy(update={"reason": "no GPU"})
        choice = self.choice(verdict="best", best=OV_PTQ, fastest=OV_PTQ)
        found = decided([*rows, gone], choices=(choice,))
        assert opened(found, "not_run").text == "Not run here: 1 variant on tensorrt unavailable (no GPU)."

    def test_targets_that_were_not_timed_together_have_a_decision_each(self, rows):
        alone = [row.model_copy(update={"latency": row.latency.model_copy(update={"across": None})}) for row in rows]
        found = decisions_of(record(alone))
        assert [each.variant for each in found] == [PTQ, OV_PTQ]
        assert recommended_ids(record(alone)) == [PTQ, OV_PTQ]


class TestKeepFp32:
    def test_everything_else_loses_or_is_not_faster(self, lab):
        rows = [
            lab.row("fp32"),
            lab.row("ptq", lost=600, ratio=2.0),
            lab.row("ptq", lost=5, ratio=0.7, calibrator="mse"),
            lab.row("qat", lost=5, ratio=1.0),
        ]
        found = decided(rows, lab.correct)
        assert (found.outcome, found.variant) == ("keep_fp32", "net-fp32")
        assert found.headline.startswith(
            "Keep FP32 on onnxruntime: of 3 other variants 1 provably less accurate, 2 proven not faster."
        )
        assert found.headline.endswith("PTQ max loses 6.00 points.")
        assert (found.worse, len(found.not_faster)) == ((PTQ,), 2)


class TestNotProven:
    def test_too_few_images_says_how_many_would_do(self, small_lab):
        rows = [small_lab.row("fp32"), small_lab.row("ptq", won=1, ratio=2.0)]
        found = decided(rows, small_lab.correct)
        assert (found.outcome, found.variant) == ("not_proven", None)
        point = opened(found, "accuracy")
        _, high = rows[1].accuracy.comparison.loss_interval
        loss = rows[1].accuracy.drop
        exact = 200 * ((high - loss) / (0.005 - loss)) ** 2
        assert exact <= point.images <= exact * 1.1
        assert found.headline.startswith(
            "Nothing proven yet: 200 test images cannot show that PTQ max per-channel (2.00"
        )
        assert found.headline.endswith(f"within the margin of 0.5 points; about {point.images:,} would.")

    def test_that_many_images_prove_it(self, lab, small_lab):
        """The same loss on as many images as were asked for: the interval ends before the margin."""
        few = [small_lab.row("fp32"), small_lab.row("ptq", won=1, ratio=2.0)]
        images = opened(decided(few), "accuracy").images
        more = type(lab)(n=images)
        rows = [more.row("fp32"), more.row("ptq", won=round(images / 200), ratio=2.0)]
        assert decided(rows).outcome == "ship"

    def test_a_loss_beyond_the_margin_needs_no_number(self, small_lab):
        found = decided([small_lab.row("fp32"), small_lab.row("ptq", lost=2, ratio=2.0)])
        assert opened(found, "accuracy").images is None
        assert "the observed loss is no smaller than the margin" in opened(found, "accuracy").text

    def test_accuracy_kept_but_speed_unclear(self, lab):
        found = decided([lab.row("fp32"), lab.row("ptq", lost=5, ratio=1.02, width=0.1)], lab.correct)
        assert found.outcome == "not_proven"
        assert found.headline.startswith(
            f"Nothing proven yet: PTQ max per-channel keeps accuracy, but is not proven faster: 1.02{TIMES} FP32 "
        )
        assert "measurement.budget_s" in opened(found, "speed").text

    def test_without_labels_speed_is_all_that_is_known(self, lab):
        rows = [lab.row("fp32", measured="latency"), lab.row("ptq", ratio=3.3, measured="latency")]
        agreement = MetricValue(value=0.925, unit="share", higher_is_better=True, n=200)
        rows[1] = rows[1].model_copy(update={"metrics": {"agreement": agreement}})
        found = decided(rows)
        assert found.outcome == "not_proven"
        assert found.headline == (
            f"Nothing proven yet: accuracy was not measured; the fastest is PTQ max per-channel, 3.30{TIMES} FP32."
        )
        assert found.why == ("Same class as FP32 on 200 images: PTQ max per-channel 92.5 %.",)
        assert opened(found, "labels").text == "Whether accuracy is kept: test images with labels decide."

    def test_without_latency_accuracy_is_all_that_is_known(self, lab):
        rows = [lab.row("fp32", measured="accuracy"), lab.row("ptq", lost=5, measured="accuracy")]
        found = decided(rows, lab.correct)
        assert found.headline == "Nothing proven yet: speed was not measured; accuracy is kept by 1 of 1."
        assert opened(found, "latency").variants == ()

    def test_only_simulated_rows_beside_fp32(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5, weight_bits=4, activation_bits=8, status="simulated")]
        found = decided(rows, lab.correct)
        assert found.headline == "Nothing proven yet: only FP32 ran here."
        assert "no engine here runs these numbers as integers" in opened(found, "simulated").text

    def test_nothing_ran(self, lab):
        rows = [
            lab.row(method, status="failed").model_copy(update={"reason": "out of memory"})
            for method in ("fp32", "ptq")
        ]
        found = decided(rows)
        assert found.headline == "Nothing proven yet: no engine gave figures here."
        assert found.open[0].text == "Not run here: 2 variants on onnxruntime failed (out of memory)."


class TestAnotherMetric:
    @staticmethod
    def rows(lab, loss):
        def metric(value, **fields):
            return MetricValue(value=value, unit="", higher_is_better=True, is_quality=True, n=500, **fields)

        compared = dropped(
            0.84 - loss, loss, (loss - 0.002, loss + 0.003), margin=0.01, verdict="worse" if loss > 0.02 else "same"
        )
        fp32, ptq = lab.row("fp32", measured="latency"), lab.row("ptq", measured="latency", ratio=2.0)
        return [
            fp32.model_copy(update={"metrics": {"mean_iou": metric(0.84)}}),
            ptq.model_copy(update={"metrics": {"mean_iou": metric(0.84 - loss, comparison=compared)}}),
        ]

    def test_it_is_shipped_by_the_metric_of_its_task(self, lab):
        found = decided(self.rows(lab, 0.004))
        assert found.headline.endswith(f"mean_iou {MINUS}0.0040 ± 0.0030 (kept).")
        assert found.why[1] == "Accuracy kept: mean_iou loses at most 0.0070 on 500 test images; the margin is 0.01."

    def test_a_loss_is_in_its_unit(self, lab):
        found = decided(self.rows(lab, 0.04))
        assert found.outcome == "keep_fp32"
        assert found.headline.endswith("PTQ max loses 0.0400.")


class TestOnATerminal:
    def test_every_line_fits_60_columns(self, small_lab):
        rows = [small_lab.row("fp32"), small_lab.row("ptq", lost=2, ratio=2.0)]
        lines = "\n".join(decision_lines(record(rows, small_lab.correct), 60)).splitlines()
        assert max(map(len, lines)) <= 60
        assert lines[1] == "net, batch 1, on onnxruntime:"
        assert lines[lines.index("  Not proven:") + 1].startswith("  - Whether PTQ max per-channel keeps")

    def test_the_title_names_model_batch_and_targets(self, lab):
        found = decided([lab.row("fp32", batch_size=8), lab.row("ptq", batch_size=8, ratio=2.0)])
        assert decision_title(found) == "net, batch 8, on onnxruntime"


def test_a_record_of_today_gives_the_same_decision_when_it_is_read_again(lab, tmp_path):
    made = record([lab.row("fp32"), lab.row("ptq", lost=5, ratio=2.0)], lab.correct)
    kept = made.model_copy(update={"decisions": decisions_of(made)})
    kept.save(tmp_path / "results.json")
    assert RunResults.load(tmp_path / "results.json").decisions == kept.decisions == decisions_of(made)
