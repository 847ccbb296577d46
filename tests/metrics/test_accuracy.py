"""Top-1, top-5 and recall per class from outputs, with the paired differences to FP32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.metrics import metrics
from harness.metrics.accuracy import accuracy_of
from harness.metrics.base import Evidence
from harness.results import Row, Variant
from harness.stats.intervals import mcnemar_exact, paired_difference, wilson_interval
from harness.stats.ranking import label_ranks, top_classes
from harness.verdicts.accuracy import judge_accuracy
from harness.verdicts.settings import Judgement

VARIANT = Variant(id="v", model="m", method="ptq", target="onnxruntime", batch_size=1)
JUDGEMENT = Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.03)


def outputs_with_ranks(ranks, labels, n_classes) -> np.ndarray:
    """Outputs in which the true class of each sample has the given rank."""
    rows = []
    for rank, label in zip(ranks, labels, strict=True):
        others = [each for each in range(n_classes) if each != label]
        order = [*others[:rank], label, *others[rank:]]
        rows.append(-np.argsort(order).astype(np.float32))
    return np.array(rows)


class TestRanks:
    def test_counts_the_classes_that_come_first(self):
        outputs = np.array([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.1, 0.9, 0.5]], np.float32)
        assert label_ranks(outputs, np.array([1, 2, 0])).tolist() == [0, 1, 2]

    def test_of_equal_outputs_the_lower_class_comes_first_as_argmax_has_it(self):
        outputs = np.array([[0.5, 0.5, 0.5]], np.float32)
        assert [label_ranks(outputs, np.array([label])).item() for label in (0, 1, 2)] == [0, 1, 2]
        assert top_classes(outputs, 2).classes.tolist() == [[0, 1]]

    # Few values, so that there are ties.
    @given(arrays(np.float32, (6, 8), elements=st.integers(-2, 2)), st.lists(st.integers(0, 7), min_size=6, max_size=6))
    def test_agree_with_argmax_and_with_the_largest_outputs(self, outputs, labels):
        ranks = label_ranks(outputs, np.array(labels))
        assert ((ranks == 0) == (outputs.argmax(axis=1) == labels)).all()
        largest = top_classes(outputs, 5)
        assert ((ranks < 5) == (largest.classes == np.array(labels)[:, None]).any(axis=1)).all()
        assert (np.diff(largest.scores, axis=1) <= 0).all()

    def test_outputs_that_are_no_numbers_are_never_right_by_accident(self):
        outputs = np.array([[np.nan, 1.0, 2.0]], np.float32)  # argmax says class 0
        assert label_ranks(outputs, np.array([0])).tolist() == [0]
        assert label_ranks(outputs, np.array([2])).tolist() == [3]

    def test_there_are_no_more_classes_than_there_are(self):
        found = top_classes(np.array([[1.0, 3.0]], np.float32))
        assert (found.classes.tolist(), found.scores.tolist()) == ([[1, 0]], [[3.0, 1.0]])


class TestTop5:
    LABELS = np.array([0, 1, 2, 3])

    def test_is_the_share_with_rank_below_five(self):
        outputs = outputs_with_ranks([0, 4, 5, 2], self.LABELS, 7)
        found = accuracy_of(outputs, None, self.LABELS, JUDGEMENT)
        assert (found.top1, found.top5) == (1 / 4, 3 / 4)
        assert found.top5_interval.ends == wilson_interval(3, 4)
        assert (found.drop, found.top5_drop) == (None, None)

    def test_drop_is_paired_with_fp32(self):
        fp32 = outputs_with_ranks([0, 4, 5, 2], self.LABELS, 7)
        outputs = outputs_with_ranks([0, 6, 6, 6], self.LABELS, 7)
        found = accuracy_of(outputs, fp32, self.LABELS, JUDGEMENT, "fp32")
        # FP32 has three of four among its five largest, the variant one: the second and the fourth are lost.
        assert found.top5_drop == 2 / 4
        assert found.top5_comparison.p_value == mcnemar_exact(2, 0) == 0.5
        expected = paired_difference([True, True, False, True], [True, False, False, False])
        assert found.top5_comparison.loss_interval == expected.drop_ci
        assert found.drop == 0.0

    def test_five_classes_have_no_top5(self):
        outputs = outputs_with_ranks([0, 0, 0, 0], self.LABELS, 5)
        found = accuracy_of(outputs, outputs, self.LABELS, JUDGEMENT)
        assert (found.top5, found.top5_interval, found.top5_drop) == (None, None, None)


def test_confusions_are_counted_most_frequent_first():
    outputs = np.eye(3, dtype=np.float32)[[1, 1, 0, 2, 2, 0]]
    found = accuracy_of(outputs, None, np.array([0, 0, 0, 1, 2, 2]), JUDGEMENT).confusions
    assert [(each.label, each.predicted, each.n) for each in found] == [(0, 1, 2), (1, 2, 1), (2, 0, 1)]


class TestClasses:
    # Class 0 has 6 samples, class 1 two, class 2 none.
    LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1])

    def test_recall_of_each_class_that_has_samples(self):
        outputs = outputs_with_ranks([0, 0, 0, 1, 1, 1, 0, 1], self.LABELS, 3)
        first, second = accuracy_of(outputs, None, self.LABELS, JUDGEMENT).classes
        assert (first.label, first.n, first.recall, first.interval.ends) == (0, 6, 3 / 6, wilson_interval(3, 6))
        assert (second.label, second.n, second.recall, second.interval.ends) == (1, 2, 1 / 2, wilson_interval(1, 2))

    def test_drop_of_each_class_is_paired_and_its_p_value_corrected_over_the_classes(self):
        fp32 = outputs_with_ranks([0] * 8, self.LABELS, 3)
        outputs = outputs_with_ranks([1] * 6 + [0, 1], self.LABELS, 3)
        row = Row(variant=VARIANT, status="ok", accuracy=accuracy_of(outputs, fp32, self.LABELS, JUDGEMENT))
        (judged,) = judge_accuracy([row], confidence=0.95, correction="holm")
        first, second = judged.accuracy.classes
        assert (first.drop, second.drop) == (1.0, 0.5)
        first, second = first.comparison, second.comparison
        # Six of six lost: 2 / 2^6. One of two: p = 1. Corrected for two classes the first doubles.
        assert (first.p_value, second.p_value) == (pytest.approx(2 / 64), 1.0)
        assert (first.p_value_adjusted, second.p_value_adjusted) == (pytest.approx(4 / 64), 1.0)
        low, high = second.loss_interval
        assert low < 0 < high  # two samples prove nothing

    def test_the_drops_of_the_classes_add_up_to_the_drop(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, 500)
        fp32, outputs = rng.standard_normal((2, 500, 10)).astype(np.float32)
        found = accuracy_of(outputs, fp32, labels, JUDGEMENT)
        assert sum(each.n * each.drop for each in found.classes) / 500 == pytest.approx(found.drop)


class TestMetric:
    @staticmethod
    def evidence(**fields) -> Evidence:
        return Evidence(variant=VARIANT, judgement=JUDGEMENT, is_reference=False, reference_id="fp32", **fields)

    def test_without_labels_there_is_no_accuracy(self):
        outputs = np.zeros((2, 3), np.float32)
        assert metrics()["accuracy"].compute(self.evidence(outputs=outputs, reference_outputs=outputs)) is None

    def test_is_of_classification_alone(self):
        assert metrics()["accuracy"].tasks == {"classification"}

    def test_agreement_has_an_interval(self):
        fp32, outputs = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.eye(3, dtype=np.float32)[[0, 1, 1, 1]]
        evidence = self.evidence(outputs=outputs, reference_outputs=fp32, labels=np.array([0, 0, 0, 0]))
        found = metrics()["accuracy"].compute(evidence)
        assert (found.agreement, found.agreement_interval.ends) == (2 / 4, wilson_interval(2, 4))
        assert (found.comparison.reference, found.comparison.margin) == ("fp32", 0.005)
