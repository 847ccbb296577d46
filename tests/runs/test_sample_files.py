"""The report's figures come back from the files that a run keeps, with nothing but pandas and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.comparison.snapshot import read_correct
from harness.metrics import metrics
from harness.metrics.base import Evidence
from harness.results import Accuracy, Variant
from harness.runs.sample_files import PREDICTIONS, TOP_CLASSES, keep_predictions
from harness.verdicts.settings import Judgement

N, CLASSES = 400, 7


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """FP32, a variant and a simulated one with made-up outputs, judged and kept as a run does."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, N)
    fp32 = (rng.standard_normal((N, CLASSES)) + 2 * np.eye(CLASSES)[labels]).astype(np.float32)
    fp32[:20] = np.round(fp32[:20])  # ties
    evidence = [
        _evidence("fp32", "fp32", labels, outputs=fp32, reference_outputs=fp32, is_reference=True),
        _evidence("ptq", "ptq", labels, outputs=_noisy(rng, fp32), reference_outputs=fp32),
        _evidence("w4", "ptq", labels, torch_outputs=_noisy(rng, fp32), reference_outputs=fp32),
    ]
    directory = tmp_path_factory.mktemp("run")
    files = keep_predictions(directory, evidence)
    assert files == {"predictions": PREDICTIONS, "top_classes": TOP_CLASSES}
    accuracies = {item.variant.id: metrics()["accuracy"].compute(item) for item in evidence}
    return accuracies, pd.read_parquet(directory / PREDICTIONS), pd.read_parquet(directory / TOP_CLASSES)


def _noisy(rng, outputs):
    return (outputs + 0.4 * rng.standard_normal(outputs.shape)).astype(np.float32)


def _evidence(name, method, labels, *, is_reference=False, **fields) -> Evidence:
    return Evidence(
        variant=Variant(id=name, model="m", method=method, target="onnxruntime", batch_size=1),
        judgement=Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.03),
        is_reference=is_reference,
        reference_id="fp32",
        labels=labels,
        **fields,
    )


@pytest.mark.parametrize("name", ["fp32", "ptq", "w4"])
def test_figures_come_back(kept, name):
    accuracies, predictions, top = kept
    found: Accuracy = accuracies[name]
    label = predictions["label"]
    assert found.top1 == (predictions[name] == label).mean()
    of_variant = top[top["variant"] == name]
    hits = of_variant["class"] == label.to_numpy()[of_variant["sample"]]
    assert found.top5 == pytest.approx(hits.groupby(of_variant["sample"]).any().mean())
    recalls = (predictions[name] == label).groupby(label).mean()
    assert {each.label: each.recall for each in found.classes} == pytest.approx(recalls.to_dict())


@pytest.mark.parametrize("name", ["ptq", "w4"])
def test_paired_figures_come_back(kept, name):
    accuracies, predictions, _ = kept
    found: Accuracy = accuracies[name]
    fp32, variant = (predictions[column] == predictions["label"] for column in ("fp32", name))
    lost, won = int((fp32 & ~variant).sum()), int((~fp32 & variant).sum())
    assert lost > won > 0
    assert found.drop == pytest.approx((lost - won) / N)
    assert found.comparison.p_value == pytest.approx(stats.binomtest(lost, lost + won).pvalue)
    assert found.agreement == (predictions["fp32"] == predictions[name]).mean()


def test_the_first_of_the_top_classes_is_the_prediction(kept):
    _, predictions, top = kept
    assert top.columns.tolist() == ["variant", "sample", "rank", "class", "class_name", "score"]
    assert top.groupby(["variant", "sample"], observed=True).size().unique().tolist() == [5]
    for name in ("fp32", "ptq", "w4"):
        first = top[(top["variant"] == name) & (top["rank"] == 1)]
        assert first["class"].tolist() == predictions[name].tolist()


def test_nothing_is_kept_of_nothing(tmp_path):
    assert keep_predictions(tmp_path, [_evidence("fp32", "fp32", None)]) == {}
    assert list(tmp_path.iterdir()) == []


def test_classes_have_their_names(tmp_path):
    labels = np.array([0, 1, 2, 0])
    outputs = np.eye(3, dtype=np.float32)[[0, 1, 0, 2]]
    item = _evidence("fp32", "fp32", labels, outputs=outputs, class_names=("cat", "dog"))
    keep_predictions(tmp_path, [item])
    predictions, top = (pd.read_parquet(tmp_path / name) for name in (PREDICTIONS, TOP_CLASSES))
    assert predictions["label_name"].tolist() == ["cat", "dog", "2", "cat"]
    assert top[top["rank"] == 1]["class_name"].tolist() == ["cat", "dog", "cat", "2"]


def test_a_comparison_reads_what_a_run_keeps_with_class_names(tmp_path):
    labels = np.array([0, 1, 2, 0])
    outputs = np.eye(3, dtype=np.float32)[[0, 1, 0, 2]]
    keep_predictions(tmp_path, [_evidence("fp32", "fp32", labels, outputs=outputs, class_names=("cat", "dog", "eel"))])
    assert {name: right.tolist() for name, right in read_correct(tmp_path).items()} == {
        "fp32": [True, True, False, False]
    }
