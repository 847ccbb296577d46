"""LoadGen's accuracy mode beside the evaluation, sample by sample."""

from __future__ import annotations

import numpy as np

from harness.load.base import LoadMeasured
from harness.metrics.base import Evidence
from harness.metrics.load import METRIC, compare_predictions
from harness.results import LoadResult, Variant
from harness.verdicts.settings import Judgement

OUTPUTS = np.array(
    [[5.0, 1.0, 0.0], [0.0, 4.0, 1.0], [2.0, 1.9995, 0.0], [0.0, 1.0, 3.0]],
    np.float32,
)
"""Classes 0, 1, 0, 2. Sample 2: classes 0 and 1 differ by 0.0005, and a thousandth of the range is 0.002."""


def evidence(predictions: list[int] | None, *, is_evaluated: bool = True) -> Evidence:
    return Evidence(
        variant=Variant(id="net-fp32-onnxruntime-b1", model="net", method="fp32", target="onnxruntime", batch_size=1),
        judgement=Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.03),
        is_reference=True,
        reference_id="net-fp32-onnxruntime-b1",
        outputs=OUTPUTS if is_evaluated else None,
        load=LoadMeasured(
            results={
                "offline": LoadResult(valid=True, samples_per_s=9.0, queries=1, samples_per_query=4, duration_s=1)
            },
            overhead_us=2.5,
            version="6.0.17",
            predictions=None if predictions is None else np.array(predictions),
        ),
    )


class TestComparison:
    def test_the_same_classes_agree(self) -> None:
        found = compare_predictions(np.array([0, 1, 0, 2]), OUTPUTS)
        assert (found.n, found.disagreements, found.ties, found.first) == (4, 0, 0, ())

    def test_a_planted_disagreement_is_found_and_located(self) -> None:
        found = compare_predictions(np.array([0, 2, 0, 1]), OUTPUTS)
        assert (found.disagreements, found.first) == (2, (1, 3))

    def test_outputs_that_are_equal_up_to_rounding_are_a_tie(self) -> None:
        found = compare_predictions(np.array([0, 1, 1, 2]), OUTPUTS)
        assert (found.disagreements, found.ties) == (0, 1)

    def test_the_third_class_of_that_sample_is_none(self) -> None:
        assert compare_predictions(np.array([0, 1, 2, 2]), OUTPUTS).disagreements == 1

    def test_a_missing_and_an_impossible_prediction_disagree(self) -> None:
        found = compare_predictions(np.array([-1, 1, 0, 3]), OUTPUTS)
        assert (found.disagreements, found.first) == (2, (0, 3))


class TestMetric:
    def test_a_row_that_agrees_has_no_fault(self) -> None:
        record = METRIC.compute(evidence([0, 1, 0, 2]))
        assert record is not None
        assert record.results["offline"].samples_per_s == 9.0
        assert METRIC.fault(record) is None

    def test_a_row_that_disagrees_says_where(self) -> None:
        record = METRIC.compute(evidence([0, 2, 0, 2]))
        assert record is not None
        fault = METRIC.fault(record)
        assert fault is not None
        assert "1 of 4 test samples, first for 1" in fault

    def test_without_an_evaluation_nothing_is_compared(self) -> None:
        record = METRIC.compute(evidence(None, is_evaluated=False))
        assert record is not None
        assert record.accuracy is None
        assert METRIC.fault(record) is None
