"""FP32 at chance level is told, with the arithmetic of chance."""

import numpy as np
import pytest
from oracles.comparisons import interval as ends

from harness.metrics.accuracy import accuracy_of
from harness.results import MetricValue, Row, Variant
from harness.verdicts.settings import Judgement
from harness.words.chance import chance, chance_warnings, guessing_warnings

JUDGEMENT = Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.01)


def row(labels: np.ndarray, predicted: np.ndarray, n_classes: int, method: str = "fp32") -> Row:
    outputs = np.eye(n_classes, dtype=np.float32)[predicted]
    variant = Variant(id=f"net-{method}", model="net", method=method, target="onnxruntime", batch_size=1)
    return Row(variant=variant, status="ok", accuracy=accuracy_of(outputs, None, labels, JUDGEMENT))


def test_chance_is_the_better_of_two_guesses() -> None:
    labels = np.array([0] * 70 + [1] * 30)
    accuracy = row(labels, labels, 4).accuracy
    assert accuracy is not None
    assert chance(accuracy, 4) == 0.7  # always class 0; at random 1 / 4
    assert chance(accuracy, 1) == 1.0


@pytest.mark.parametrize(
    ("right", "is_told"),
    # 1,000 samples of ten classes: the 95 % interval of 110 begins at 9.2 %, below 10 %; that of 150 at 12.9 %.
    [(0, True), (100, True), (110, True), (150, False), (900, False)],
)
def test_an_interval_that_holds_chance_is_told(right: int, is_told: bool) -> None:
    labels = np.arange(1000) % 10
    predicted = np.where(np.arange(1000) < right, labels, (labels + 1) % 10)
    warnings = chance_warnings([row(labels, predicted, 10)], 10)
    assert bool(warnings) == is_told
    assert all("no better than guessing" in text and "10.00 %" in text for text in warnings)


def test_always_the_most_frequent_class_is_guessing_however_frequent() -> None:
    labels = np.array([0] * 950 + [1] * 50)
    assert chance_warnings([row(labels, np.zeros(1000, int), 2)], 2)


def test_rows_other_than_fp32_are_judged_against_fp32_instead() -> None:
    labels = np.arange(100) % 10
    assert not chance_warnings([row(labels, (labels + 1) % 10, 10, "fp16")], 10)


@pytest.mark.parametrize(
    ("interval", "higher_is_better", "is_told"),
    [((0.2, 0.4), True, True), ((0.31, 0.4), True, False), ((0.2, 0.29), False, False), ((0.2, 0.4), False, True)],
)
def test_figures_of_other_tasks_are_held_against_guessing(
    interval: tuple[float, float], higher_is_better: bool, is_told: bool
) -> None:
    variant = Variant(id="net-fp32", model="net", method="fp32", target="onnxruntime", batch_size=1)
    figure = MetricValue(
        value=0.25,
        unit="share",
        higher_is_better=higher_is_better,
        interval=ends(*interval),
        is_quality=True,
        guessing=0.3,
    )
    warnings = guessing_warnings([Row(variant=variant, status="ok", metrics={"mean_iou": figure})])
    assert bool(warnings) == is_told
    assert all("Its mean_iou of 0.25 has an interval" in text for text in warnings)


def test_a_warning_says_what_the_network_was_given() -> None:
    """A network that was trained without ImageNet's mean and std guesses; the values tell what to change."""
    labels = np.arange(100) % 10
    steps = {"resize": "none", "mean": "0.485, 0.456, 0.406", "std": "0.229, 0.224, 0.225"}
    (warning,) = chance_warnings([row(labels, (labels + 1) % 10, 10)], 10, steps)
    assert "Check preprocessing (mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225), the order" in warning
