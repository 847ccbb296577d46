"""Words that hold for many comparisons at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.comparisons import compared_as
from oracles.single_verdicts import accuracy_verdict

from harness.stats.family import PairedTest, judge_family
from harness.stats.intervals import MarginTests, holm, paired_difference
from harness.stats.verdict import is_non_inferior
from harness.verdicts.accuracy import judge_accuracy

MARGIN = 0.005


def comparison(lost, won, n=10_000) -> PairedTest:
    reference, variant = np.ones(n, bool), np.ones(n, bool)
    variant[:lost] = False
    reference[lost : lost + won] = False
    found = paired_difference(reference, variant, resamples=10)
    return PairedTest(found.drop_ci, found.p_value, found.margin_tests(MARGIN))


counts = st.tuples(st.integers(0, 150), st.integers(0, 150))


class TestFamily:
    @given(counts)
    def test_one_comparison_is_judged_as_if_alone(self, lost_and_won):
        found = comparison(*lost_and_won)
        (judged,) = judge_family([found], confidence=0.95, correction="holm")
        assert judged.verdict == accuracy_verdict(found.drop_ci, found.p_value, MARGIN)
        assert judged.is_non_inferior == is_non_inferior(found.drop_ci, MARGIN)
        assert judged.p_value == found.p_value

    def test_a_loss_that_luck_explains_among_many_is_not_proven(self):
        # 60 against 36 lost: exact McNemar p = 0.018, and a score interval that leaves out zero but not the margin.
        lossy = comparison(60, 36)
        assert lossy.p_value == pytest.approx(0.0184, abs=1e-4)
        others = [comparison(100, 100)] * 9
        alone, *_ = judge_family([lossy, *others], confidence=0.95, correction="none")
        among, *_ = judge_family([lossy, *others], confidence=0.95, correction="holm")
        assert (alone.verdict, alone.p_value) == ("same", lossy.p_value)
        assert among.p_value == pytest.approx(10 * lossy.p_value)
        assert not among.is_proven

    def test_worse_becomes_inconclusive_when_it_is_one_of_many(self):
        lossy = PairedTest((0.001, 0.009), 0.02, MarginTests(0.5, 1e-6))
        others = [PairedTest((-0.01, 0.01), 0.9, MarginTests(0.2, 0.2))] * 9
        assert judge_family([lossy], confidence=0.95, correction="holm")[0].verdict == "worse"
        assert judge_family([lossy, *others], confidence=0.95, correction="holm")[0].verdict == "inconclusive"

    def test_same_becomes_inconclusive_when_it_is_one_of_many(self):
        # The margin is ruled out at 1 % on either side: enough at 2.5 % for one, not for ten.
        close = PairedTest((-0.0045, 0.0045), 1.0, MarginTests(0.01, 0.01))
        others = [PairedTest((-0.01, 0.01), 0.9, MarginTests(0.2, 0.2))] * 9
        alone = judge_family([close], confidence=0.95, correction="holm")[0]
        among = judge_family([close, *others], confidence=0.95, correction="holm")[0]
        assert (alone.verdict, alone.is_non_inferior) == ("same", True)
        assert (among.verdict, among.is_non_inferior) == ("inconclusive", False)
        assert among.margin_tests == pytest.approx((0.1, 0.1))

    @given(st.lists(counts, min_size=1, max_size=8))
    def test_correction_only_ever_takes_words_back(self, every):
        comparisons = [comparison(*each) for each in every]
        plain = judge_family(comparisons, confidence=0.95, correction="none")
        corrected = judge_family(comparisons, confidence=0.95, correction="holm")
        for before, after in zip(plain, corrected, strict=True):
            assert after.verdict in {before.verdict, "inconclusive"} or before.verdict == "same"
            assert before.is_non_inferior or not after.is_non_inferior

    @given(st.lists(counts, min_size=1, max_size=8))
    def test_what_may_be_shipped_agrees_with_the_word(self, every):
        for judged in judge_family([comparison(*each) for each in every], confidence=0.95, correction="holm"):
            if judged.verdict in {"same", "better"}:
                assert judged.is_non_inferior
            if judged.verdict == "worse":
                assert not judged.is_non_inferior

    def test_nothing_to_judge(self):
        assert judge_family([], confidence=0.95, correction="holm") == ()


class TestRows:
    @staticmethod
    def rows(lab, losses):
        rows = [lab.row("fp32")]
        for index, lost in enumerate(losses):
            row = lab.row("ptq", lost=lost, won=30, calibrator=f"c{index}")
            tests = paired_difference(lab.reference, lab.correct[row.variant.id], resamples=10).margin_tests(MARGIN)
            update = {
                "non_inferiority_p_value": tests.non_inferiority,
                "non_superiority_p_value": tests.non_superiority,
            }
            rows.append(row.model_copy(update={"accuracy": compared_as(row.accuracy, **update)}))
        return rows

    def test_the_family_is_every_row_that_was_compared_with_fp32(self, lab):
        rows = self.rows(lab, [50, 60, 90])
        fp32, *judged = judge_accuracy([*rows, lab.row("ptq", status="failed")], confidence=0.95, correction="holm")
        expected = holm([row.accuracy.comparison.p_value for row in rows[1:]])
        assert tuple(row.accuracy.comparison.p_value_adjusted for row in judged[:3]) == expected
        assert [row.accuracy.comparison.family_size for row in judged[:3]] == [3, 3, 3]
        assert fp32.accuracy.comparison is None
        assert judged[3].accuracy is None

    def test_intervals_and_plain_p_values_stay_as_they_were(self, lab):
        rows = self.rows(lab, [50, 60, 90])
        judged = judge_accuracy(rows, confidence=0.95, correction="holm")
        for before, after in zip(rows[1:], judged[1:], strict=True):
            for name in ("difference", "interval", "p_value", "non_inferiority_p_value"):
                assert getattr(after.accuracy.comparison, name) == getattr(before.accuracy.comparison, name)
