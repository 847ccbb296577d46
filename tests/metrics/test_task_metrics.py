"""Metrics of tasks beyond classification: torchmetrics computes them, images are drawn again, FP32 is paired."""

import numpy as np
import pytest
import torch
from torchmetrics import Metric as TorchMetric
from torchmetrics.classification import MulticlassAveragePrecision, MulticlassJaccardIndex
from torchmetrics.regression import MeanSquaredError

from harness.data.tasks import IGNORED_LABEL
from harness.errors import StageError
from harness.metrics import metrics
from harness.metrics.base import Evidence
from harness.metrics.task import MIN_DIFFERENT, TaskMetric
from harness.results import Row, Variant
from harness.stats.resampling import SampleStates
from harness.verdicts.accuracy import judge_accuracy
from harness.verdicts.settings import Judgement

VARIANT = Variant(id="v", model="m", method="ptq", target="onnxruntime", batch_size=1)
MEAN_IOU = metrics()["mean_iou"]


def masks(n, size, rng) -> np.ndarray:
    return rng.integers(0, 3, (n, size, size))


def logits(classes) -> np.ndarray:
    return np.moveaxis(np.eye(3, dtype=np.float32)[classes], -1, 1)


def spoiled(labels, share, rng) -> np.ndarray:
    """Labels of which a share is replaced by the next class."""
    return np.where(rng.random(labels.shape) < share, (labels + 1) % 3, labels)


def evidence(outputs, reference, labels, *, is_reference=False) -> Evidence:
    return Evidence(
        variant=VARIANT,
        judgement=Judgement(confidence=0.95, accuracy_margin=0.01, latency_margin=0.03),
        is_reference=is_reference,
        reference_id="fp32",
        labels=labels,
        outputs=outputs,
        reference_outputs=reference,
        task="segmentation",
    )


def judged(metric):
    """Its comparison with the verdict, as the only one of a run."""
    row = Row(variant=VARIANT, status="ok", metrics={"m": metric})
    return judge_accuracy([row], confidence=0.95, correction="holm")[0].metrics["m"].comparison


class TestMeanIou:
    def test_by_hand(self):
        # Class 0: 2 of 3 pixels in common; class 1: 1 of 2; class 2 neither occurs nor is predicted.
        labels, predicted = np.array([[[0, 0], [0, 1]]]), np.array([[[0, 0], [1, 1]]])
        found = MEAN_IOU.compute(evidence(logits(predicted), None, labels, is_reference=True))
        assert found.value == pytest.approx((2 / 3 + 1 / 2) / 2)
        assert (found.n, found.is_quality, found.drop) == (1, True, None)

    def test_pixels_without_a_class_do_not_count(self):
        labels, predicted = np.array([[[0, 0], [IGNORED_LABEL, 1]]]), np.array([[[0, 0], [2, 1]]])
        found = MEAN_IOU.compute(evidence(logits(predicted), None, labels, is_reference=True))
        assert found.value == 1.0

    def test_guessing_is_the_most_frequent_class_everywhere(self):
        labels = np.array([[[0, 0], [0, 1]], [[0, 2], [0, 0]]])
        found = MEAN_IOU.compute(evidence(logits(labels), None, labels, is_reference=True))
        assert found.guessing == pytest.approx(6 / 8 / 3)  # class 0 in common with all pixels, the others with none
        assert MEAN_IOU.compute(evidence(logits(labels), logits(labels), labels)).guessing is None

    def test_without_labels_there_is_no_figure(self):
        outputs = logits(np.zeros((2, 2, 2), int))
        assert MEAN_IOU.compute(evidence(outputs, outputs, None)) is None


@pytest.fixture(scope="module")
def found():
    """FP32 errs in 10 % of the pixels of 200 images, the variant in 14 %."""
    rng = np.random.default_rng(0)
    labels = masks(200, 6, rng)
    fp32 = spoiled(labels, 0.10, rng)
    variant = np.where(fp32 == labels, spoiled(fp32, 0.045, rng), fp32)
    values = [MulticlassJaccardIndex(3)(torch.tensor(each), torch.tensor(labels)).item() for each in (fp32, variant)]
    return values, MEAN_IOU.compute(evidence(logits(variant), logits(fp32), labels))


class TestComparison:
    def test_loss_is_fp32_minus_the_variant(self, found):
        (fp32, variant), metric = found
        assert metric.value == pytest.approx(variant)
        assert metric.drop == pytest.approx(fp32 - variant)
        assert metric.comparison.reference == "fp32"

    def test_a_clear_loss_is_proven(self, found):
        _, metric = found
        compared = judged(metric)
        assert compared.verdict == "worse"
        assert compared.margin < compared.loss_interval[0] < metric.drop < compared.loss_interval[1]
        assert compared.p_value == pytest.approx(1 / 2001)  # no exchange of images came near it
        assert compared.non_inferiority_p_value == 1.0
        assert compared.non_superiority_p_value == pytest.approx(1 / 2001)

    def test_the_same_twice_proves_nothing(self):
        rng = np.random.default_rng(0)
        labels = masks(50, 4, rng)
        outputs = logits(spoiled(labels, 0.1, rng))
        metric = MEAN_IOU.compute(evidence(outputs, outputs, labels))
        compared = judged(metric)
        assert (metric.drop, compared.interval, compared.p_value, compared.verdict) == (0.0, None, None, "inconclusive")

    @pytest.mark.parametrize(("changed", "has_interval"), [(MIN_DIFFERENT - 1, False), (MIN_DIFFERENT, True)])
    def test_an_interval_needs_ten_images_that_differ(self, changed, has_interval):
        rng = np.random.default_rng(0)
        labels = masks(50, 4, rng)
        variant = labels.copy()
        variant[:changed, 0, 0] = (variant[:changed, 0, 0] + 1) % 3
        metric = MEAN_IOU.compute(evidence(logits(variant), logits(labels), labels))
        assert (metric.comparison.interval is not None) == has_interval

    @pytest.mark.slow
    def test_equal_models_are_rarely_told_apart(self):
        rng, p_values = np.random.default_rng(3), []
        for _ in range(12):
            labels = masks(40, 3, rng)
            first, second = (logits(spoiled(labels, 0.15, rng)) for _ in range(2))
            p_values.append(MEAN_IOU.compute(evidence(first, second, labels)).comparison.p_value)
        # Of twelve p-values of a true null more than three at or below 0.05 come with probability 0.002.
        assert sum(value <= 0.05 for value in p_values) <= 3
        assert max(p_values) > 0.3


class SquaredError(TaskMetric):
    """What a user adds as one file."""

    name = "squared_error"
    unit = "1"
    higher_is_better = False

    def make(self, n_classes):
        return MeanSquaredError()

    def inputs(self, outputs, labels):
        return torch.from_numpy(outputs[:, 0]), torch.from_numpy(labels)


def test_a_metric_of_which_less_is_better_loses_when_it_grows():
    rng = np.random.default_rng(0)
    labels = rng.standard_normal(100).astype(np.float32)
    fp32, variant = labels + 0.1, labels + 0.3
    metric = SquaredError().compute(evidence(variant[:, None], fp32[:, None], labels))
    # 0.3^2 - 0.1^2
    assert metric.value == pytest.approx(0.09, abs=1e-6)
    assert metric.drop == pytest.approx(0.08, abs=1e-6)
    assert judged(metric).verdict == "worse"


class TestStates:
    LABELS = torch.tensor([0, 1, 2, 1, 0])

    @pytest.fixture(params=["sum", "cat"])
    def metric(self, request):
        if request.param == "sum":
            return MulticlassJaccardIndex(3)
        return MulticlassAveragePrecision(3, thresholds=None)

    def test_any_choice_of_samples_has_the_value_of_running_the_metric_on_it(self, metric):
        scores = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=1)
        states = SampleStates(metric, scores, self.LABELS)
        counts = np.array([2, 1, 1, 0, 3])
        taken = torch.repeat_interleave(torch.arange(5), torch.from_numpy(counts))
        fresh = metric.clone()
        fresh.reset()
        assert states.value(counts) == pytest.approx(fresh(scores[taken], self.LABELS[taken]).item())
        fresh.reset()
        assert states.value() == pytest.approx(fresh(scores, self.LABELS).item())

    def test_samples_of_two_models_can_be_mixed(self, metric):
        generator = torch.Generator().manual_seed(1)
        one, other = (torch.softmax(torch.randn(5, 3, generator=generator), dim=1) for _ in range(2))
        take = np.array([True, False, True, False, False])
        mixed = torch.where(torch.from_numpy(take)[:, None], other, one)
        fresh = metric.clone()
        fresh.reset()
        found = SampleStates(metric, one, self.LABELS).mixed(SampleStates(metric.clone(), other, self.LABELS), take)
        assert found == pytest.approx(fresh(mixed, self.LABELS).item())

    def test_refuses_states_that_cannot_be_joined(self):
        class Largest(TorchMetric):
            def __init__(self):
                super().__init__()
                self.add_state("largest", torch.tensor(0.0), dist_reduce_fx="max")

            def update(self, predictions, targets):
                self.largest = torch.maximum(self.largest, predictions.max())

            def compute(self):
                return self.largest

        with pytest.raises(StageError, match="state `largest` of Largest"):
            SampleStates(Largest(), torch.zeros(2), torch.zeros(2))
