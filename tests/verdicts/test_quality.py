"""Tasks without top-1: their metric is corrected, worded, and recommended by, like accuracy."""

import pytest
from oracles.comparisons import dropped

from harness.results import MetricValue
from harness.verdicts.accuracy import judge_accuracy
from harness.verdicts.quality import quality
from harness.verdicts.recommend import keeps_accuracy
from harness.verdicts.seeds import seed_spreads
from harness.words.conclusions import conclude


def metric(value, drop=None, half=0.001, p_value=0.5, margins=(0.001, 0.001), **fields) -> MetricValue:
    """A mean IoU, with a loss whose interval is drop ± half."""
    compared = None
    if drop is not None:
        compared = dropped(
            value,
            drop,
            (drop - half, drop + half),
            reference="net-fp32",
            p_value=p_value,
            margin=0.005,
            non_inferiority_p_value=margins[0],
            non_superiority_p_value=margins[1],
            higher_is_better=fields.get("higher_is_better", True),
        )
    defaults = {"unit": "share", "higher_is_better": True, "n": 500, "is_quality": True, "comparison": compared}
    return MetricValue(value=value, **(defaults | fields))


@pytest.fixture
def rows(lab):
    """FP32, a PTQ row that keeps its mean IoU, and one that loses four points."""

    def row(method, found, **fields):
        return lab.row(method, measured="latency", **fields).model_copy(update={"metrics": {"mean_iou": found}})

    kept = metric(0.849, 0.001)
    lost = metric(0.81, 0.04, p_value=0.0005, margins=(1.0, 0.0005))
    return [
        row("fp32", metric(0.85)),
        row("ptq", kept, ratio=1.7),
        row("ptq", lost, ratio=1.9, per_channel=False),
    ]


def judged(rows):
    return judge_accuracy(rows, confidence=0.95, correction="holm")


def test_verdicts_are_corrected_over_all_rows(rows):
    fp32, kept, lost = (row.metrics["mean_iou"].comparison for row in judged(rows))
    assert fp32 is None
    assert (kept.verdict, kept.is_non_inferior, kept.family_size) == ("same", True, 2)
    # Holm: the smaller of two p-values is doubled.
    assert (lost.verdict, lost.p_value_adjusted) == ("worse", pytest.approx(0.001))
    assert not lost.is_non_inferior


def test_what_keeps_the_metric_may_be_shipped(rows):
    rows = judged(rows)
    assert [keeps_accuracy(row) for row in rows] == [True, True, False]
    (conclusion,) = conclude(rows, {})
    assert conclusion.recommended == rows[1].variant.id


def test_the_conclusion_names_metric_loss_and_interval(rows):
    (conclusion,) = conclude(judged(rows), {})
    headline, *details = conclusion.text.splitlines()
    assert headline == "Quantization keeps mean_iou in 1 of 2 variants."
    assert "FP32: mean_iou 0.850 on 500 images." in details
    assert any("max per-tensor 0.0400 (0.0390 to 0.0410)" in line for line in details)


def test_losses_and_open_questions_have_their_headlines(rows):
    fp32, _, lost = rows
    (conclusion,) = conclude(judged([fp32, lost]), {})
    assert conclusion.text.startswith("Quantization provably loses mean_iou, up to 0.0400.")
    unclear = lost.model_copy(update={"metrics": {"mean_iou": metric(0.84, 0.01, 0.02, 0.4, (0.7, 0.1))}})
    (conclusion,) = conclude(judged([fp32, unclear]), {})
    assert conclusion.text.startswith("500 images cannot show whether quantization keeps mean_iou.")


def test_where_less_is_better_the_median_seed_is_still_in_the_middle(lab):
    rows = []
    for seed, error in enumerate((0.3, 0.1, 0.2)):
        row = lab.row("qat", measured="latency", qat_seed=seed, skip=(f"s{seed}",))
        variant = row.variant.model_copy(update={"id": f"qat-{seed}", "skip": ()})
        found = metric(error, higher_is_better=False)
        rows.append(row.model_copy(update={"variant": variant, "metrics": {"error": found}}))
    (spread,) = seed_spreads(rows)
    assert (spread.metric, spread.representative, spread.value.mean) == ("error", "qat-2", pytest.approx(0.2))
    # Of two the worse one: the larger error.
    (spread,) = seed_spreads(rows[1:])
    assert spread.representative == "qat-2"


def test_top1_comes_before_metrics_of_the_task(lab):
    row = lab.row("fp32").model_copy(update={"metrics": {"mean_iou": metric(0.85)}})
    assert quality(row).name == "top-1"
    assert quality(lab.row("fp32", measured="latency")) is None
