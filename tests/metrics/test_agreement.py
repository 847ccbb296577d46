"""Agreement with FP32, which needs no labels."""

import numpy as np
import pytest

from harness.metrics import metrics
from harness.metrics.base import Evidence
from harness.results import Variant
from harness.stats.intervals import wilson_interval
from harness.verdicts.settings import Judgement

METRIC = metrics()["agreement"]


def evidence(outputs, reference, *, is_reference=False) -> Evidence:
    return Evidence(
        variant=Variant(id="v", model="m", method="ptq", target="onnxruntime", batch_size=1),
        judgement=Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.03),
        is_reference=is_reference,
        reference_id="fp32",
        outputs=outputs,
        reference_outputs=reference,
    )


def logits(classes) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[classes]


def test_three_of_four_predictions_are_the_same_class() -> None:
    found = METRIC.compute(evidence(logits([0, 1, 2, 2]), 5 * logits([0, 1, 2, 0])))
    assert found.value == pytest.approx(3 / 4)
    assert found.n == 4
    assert found.interval.ends == wilson_interval(3, 4, 0.95)


@pytest.mark.parametrize("unknown", ["outputs", "reference"])
def test_without_outputs_there_is_no_figure(unknown: str) -> None:
    values = {"outputs": logits([0]), "reference": logits([0])} | {unknown: None}
    assert METRIC.compute(evidence(**values)) is None


def test_the_fp32_row_does_not_agree_with_itself() -> None:
    assert METRIC.compute(evidence(logits([0]), logits([0]), is_reference=True)) is None


def test_of_pixels_it_is_the_mean_over_images() -> None:
    # The first image agrees in all four pixels, the second in one.
    reference = np.zeros((2, 3, 2, 2), np.float32)
    reference[:, 0] = 1
    outputs = reference.copy()
    outputs[1, 2, 0, :] = outputs[1, 2, 1, 0] = 5
    found = METRIC.compute(evidence(outputs, reference))
    assert found.value == pytest.approx((1 + 1 / 4) / 2)
    assert (found.unit, found.n, found.interval.ends) == ("share of pixels", 2, (0.25, 1.0))
