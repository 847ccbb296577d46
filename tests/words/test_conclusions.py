"""The sentences an engineer reads first."""

import pytest

from harness.words.conclusions import conclude
from harness.words.phrases import TIMES


def only(rows, correct):
    (conclusion,) = conclude(rows, correct)
    headline, *details = conclusion.text.splitlines()
    return conclusion, headline, details


def line(details, start):
    (found,) = [text for text in details if text.startswith(start)]
    return found


class TestHeadline:
    def test_ptq_is_enough(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5, won=5, ratio=1.7), lab.row("qat", lost=8, won=9, ratio=1.7)]
        _, headline, _ = only(rows, lab.correct)
        assert headline == "PTQ is enough; QAT buys nothing that 10,000 images can prove."

    def test_ptq_loses_and_qat_wins_back(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=300), lab.row("qat", lost=60)]
        _, headline, _ = only(rows, lab.correct)
        # 300 and 240 discordant samples of 10,000: standard errors sqrt(300)/100 = 0.17 and 0.155 points.
        assert headline.startswith("PTQ provably loses 3.00 ± 0.3")
        assert "; QAT wins back 2.40 ± 0.3" in headline

    def test_ptq_loses_and_qat_does_not_help(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=300), lab.row("qat", lost=299)]
        _, headline, _ = only(rows, lab.correct)
        assert headline.endswith("QAT wins back nothing that 10,000 images can prove.")

    def test_some_calibrations_lose(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5), lab.row("ptq", lost=400, per_channel=False)]
        _, headline, details = only(rows, lab.correct)
        assert headline == "PTQ is enough in 1 of 2 variants."
        # Standard error sqrt(400 * 0.96) / 100 = 0.196 points, times 1.96 is 0.384; the score interval's longer arm.
        assert "1 of 2 provably worse: max per-tensor 4.00 ± 0.40" in line(details, "PTQ against FP32")

    def test_several_losses_are_a_range_and_not_the_luckiest(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=200), lab.row("ptq", lost=400, per_channel=False)]
        _, headline, _ = only(rows, lab.correct)
        assert headline == "PTQ provably loses 2.00 to 4.00 points."

    def test_a_loss_in_some_is_not_a_loss_in_all(self, small_lab):
        rows = [small_lab.row("fp32"), small_lab.row("ptq", lost=2), small_lab.row("ptq", lost=40, per_channel=False)]
        _, headline, _ = only([*rows, small_lab.row("qat", lost=1)], small_lab.correct)
        # QAT stands beside the undecided PTQ row: there is nothing proven that it could win back.
        assert headline.startswith("PTQ provably loses 20.00 ± 6.09 ")
        assert headline.endswith("points in 1 of 2 variants; QAT buys nothing that 200 images can prove.")

    def test_too_few_samples(self, small_lab):
        rows = [small_lab.row("fp32"), small_lab.row("ptq", lost=2, ratio=1.7), small_lab.row("qat", lost=1, ratio=1.7)]
        conclusion, headline, details = only(rows, small_lab.correct)
        assert headline == (
            "200 images cannot show whether PTQ keeps the accuracy; QAT buys nothing that 200 images can prove."
        )
        assert "an interval as narrow as the margin needs about" in line(details, "PTQ against FP32")
        assert conclusion.recommended is None

    def test_a_proven_gain_within_the_margin_is_said_to_be_that(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=30), lab.row("qat", lost=0)]
        _, headline, _ = only(rows, lab.correct)
        assert headline.startswith("PTQ is enough; QAT provably gains no more than 0.30 ± 0.1")
        assert headline.endswith("points, within the margin.")

    def test_qat_that_harms(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5), lab.row("qat", lost=300)]
        _, headline, _ = only(rows, lab.correct)
        assert headline.startswith("PTQ is enough; QAT provably loses 2.95 ± 0.3")

    def test_without_qat(self, lab):
        _, headline, _ = only([lab.row("fp32"), lab.row("ptq", lost=5)], lab.correct)
        assert headline == "PTQ is enough."


class TestDetails:
    def test_what_qat_gains_is_kept_as_figures_too(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=300), lab.row("qat", lost=60)]
        conclusion, _, _ = only(rows, lab.correct)
        (gain,) = conclusion.qat_gains
        assert (gain.comparison.reference, gain.qat) == (rows[1].variant.id, rows[2].variant.id)
        assert (gain.comparison.difference, gain.comparison.verdict) == (pytest.approx(0.024), "better")

    def test_qat_pairs_are_listed_with_their_test(self, lab):
        rows = [lab.row("fp32"), lab.row("ptq", lost=5), lab.row("qat", lost=2)]
        _, _, details = only(rows, lab.correct)
        # Three samples, all won by QAT: exact McNemar p = 2 * 2^-3.
        pair = line(details, "QAT minus PTQ of the same calibration")
        assert "max per-channel +0.03 ±" in pair
        assert "(p = 0.25)" in pair

    def test_rows_without_figures_are_counted_with_their_common_reason(self, lab):
        gone = [
            lab.row("ptq", status="unavailable", calibrator=name).model_copy(update={"reason": "no GPU here"})
            for name in ("mse", "entropy")
        ]
        failed = lab.row("qat", status="failed").model_copy(update={"reason": "out of memory"})
        _, _, details = only([lab.row("fp32"), lab.row("ptq"), *gone, failed], lab.correct)
        assert details[-1] == (
            "Not among these figures: 1 variant failed (out of memory), 2 variants unavailable here (no GPU here)."
        )


class TestWhatWasNotMeasured:
    def test_random_weights_speak_of_latency_only(self, lab):
        rows = [lab.row("fp32", measured="latency"), lab.row("ptq", ratio=3.3, measured="latency")]
        conclusion, headline, details = only(rows, {})
        assert headline == f"PTQ 3.30{TIMES} the speed of FP32; accuracy was not measured."
        assert line(details, "Speed as a multiple of FP32 (1.00 ms)").endswith("noise floor of the session 1.0 %.")
        assert conclusion.recommended is None
        assert "points" not in conclusion.text

    def test_rounds_in_which_something_else_happened_are_said(self, lab):
        """Even where it was so in all of them: nothing is left out, and the reader must know."""
        rows = [lab.row("fp32"), lab.row("ptq", ratio=1.7)]
        update = {"contaminated_rounds": {"waited": 2, "load": 10}}
        rows = [row.model_copy(update={"latency": row.latency.model_copy(update=update)}) for row in rows]
        _, _, details = only(rows, lab.correct)
        assert line(details, "Speed as").endswith("; of 10 rounds, contaminated: load in 10, waited in 2.")

    def test_accuracy_alone_recommends_nothing(self, lab):
        rows = [lab.row("fp32", measured="accuracy"), lab.row("ptq", measured="accuracy")]
        conclusion, headline, _ = only(rows, lab.correct)
        assert headline == "PTQ is enough."
        assert conclusion.recommended is None

    def test_built_engines_that_cannot_run_here(self, lab):
        rows = [
            lab.row(method, status="built").model_copy(update={"reason": "no GPU on this machine"})
            for method in ("fp32", "ptq")
        ]
        _, headline, _ = only(rows, {})
        assert headline == "No figures: 2 variants built but not run here (no GPU on this machine)."

    def test_fp32_alone(self, lab):
        _, headline, _ = only([lab.row("fp32")], lab.correct)
        assert headline == "Nothing to compare: only FP32 gave figures."


class TestSimulated:
    @pytest.fixture
    def rows(self, lab):
        narrow = {"weight_bits": 4, "activation_bits": 8, "status": "simulated"}
        return [lab.row("fp32"), lab.row("ptq", lost=600, **narrow), lab.row("qat", lost=100, **narrow)]

    def test_they_are_the_headline_when_nothing_else_was_quantized(self, lab, rows):
        conclusion, headline, _ = only(rows, lab.correct)
        assert headline.startswith("Simulated w4a8 (no integer kernel runs it): PTQ provably loses 6.00 ± 0.")
        assert "QAT wins back 5.00 ± 0." in headline
        assert conclusion.recommended == "net-fp32"

    def test_they_stand_apart_from_deployed_rows(self, lab, rows):
        conclusion, headline, details = only([*rows, lab.row("ptq", lost=3, ratio=1.7)], lab.correct)
        assert headline == "PTQ is enough."
        assert line(details, "Simulated w4a8 (no integer kernel runs it): PTQ provably loses")
        assert "1 of 1 proven" in line(details, "PTQ against FP32")
        assert conclusion.recommended == "net-ptq-max-True-harness"


def test_one_conclusion_per_model_target_and_batch_size_in_the_order_of_the_rows(lab):
    rows = [
        lab.row("fp32", model="b"),
        lab.row("fp32", model="a"),
        lab.row("fp32", model="b", batch_size=8),
        lab.row("ptq", model="b"),
    ]
    found = conclude(rows, lab.correct)
    assert [(each.model, each.batch_size) for each in found] == [("b", 1), ("a", 1), ("b", 8)]
