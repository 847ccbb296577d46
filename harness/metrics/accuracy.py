"""`accuracy`: top-1, top-5 and recall per class on the test samples, and the paired differences to FP32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from harness.data.tasks import Task
from harness.metrics.base import Evidence, Judgement, Metric
from harness.results import Accuracy, ClassAccuracy
from harness.stats.intervals import PairedDifference, holm, paired_difference, wilson_interval
from harness.stats.ranking import TOP_K, label_ranks
from harness.stats.verdict import accuracy_verdict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int64]
    Ranks = npt.NDArray[np.int64]


class AccuracyMetric(Metric):
    """Every row is judged on the same samples as its FP32 row."""

    name: ClassVar[str] = "accuracy"
    section: ClassVar[str | None] = "accuracy"
    tasks: ClassVar[frozenset[Task] | None] = frozenset({"classification"})

    def compute(self, evidence: Evidence) -> Accuracy | None:
        """Shares in [0, 1]; None without labels. The verdict is that of this comparison alone."""
        outputs, labels = evidence.network_outputs, evidence.labels
        if outputs is None or labels is None:
            return None
        reference = None if evidence.is_reference else evidence.reference_outputs
        found = accuracy_of(outputs, reference, labels, evidence.judgement, evidence.reference_id)
        return found.model_copy(update={"classes": _named(found.classes, evidence.class_names)})


def accuracy_of(
    outputs: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32] | None,
    labels: Labels,
    judgement: Judgement,
    reference_id: str | None = None,
) -> Accuracy:
    """From outputs (n, classes), those of FP32 on the same samples (None for FP32 itself) and labels (n,)."""
    ranks = label_ranks(outputs, labels)
    fp32_ranks = None if reference is None else label_ranks(reference, labels)
    figures = _top1(ranks, fp32_ranks, judgement)
    if outputs.shape[1] > TOP_K:
        figures |= _top5(ranks, fp32_ranks, judgement)
    if reference is not None:
        same = outputs.argmax(axis=1) == reference.argmax(axis=1)
        figures |= {
            "reference": reference_id,
            "agreement": float(same.mean()),
            "agreement_ci95": _share(same, judgement),
        }
    classes = classes_of(ranks == 0, None if fp32_ranks is None else fp32_ranks == 0, labels, judgement)
    return Accuracy(n=len(labels), classes=classes, **figures)


def _top1(
    ranks: npt.NDArray[np.int64], fp32_ranks: npt.NDArray[np.int64] | None, judgement: Judgement
) -> dict[str, Any]:
    right = ranks == 0
    figures: dict[str, Any] = {"top1": float(right.mean()), "top1_ci95": _share(right, judgement)}
    if fp32_ranks is None:
        return figures
    found, margin = _difference(fp32_ranks == 0, right, judgement), judgement.accuracy_margin
    tests = found.margin_tests(margin)
    return figures | {
        "drop": found.drop,
        "drop_ci95": found.drop_ci,
        "drop_bootstrap_ci95": found.bootstrap_ci,
        "p_value": found.p_value,
        "non_inferiority_p_value": tests.non_inferiority,
        "non_superiority_p_value": tests.non_superiority,
        "margin": margin,
        "verdict": accuracy_verdict(found.drop_ci, found.p_value, margin, 1.0 - judgement.confidence),
    }


def _top5(
    ranks: npt.NDArray[np.int64], fp32_ranks: npt.NDArray[np.int64] | None, judgement: Judgement
) -> dict[str, Any]:
    right = ranks < TOP_K
    figures: dict[str, Any] = {"top5": float(right.mean()), "top5_ci95": _share(right, judgement)}
    if fp32_ranks is None:
        return figures
    found = _difference(fp32_ranks < TOP_K, right, judgement)
    return figures | {"top5_drop": found.drop, "top5_drop_ci95": found.drop_ci, "top5_p_value": found.p_value}


def classes_of(
    right: Flags, fp32_right: Flags | None, labels: Labels, judgement: Judgement
) -> tuple[ClassAccuracy, ...]:
    """Recall of every class that has samples; p-values are corrected over the classes of the row."""
    import numpy as np

    present = [int(label) for label in np.unique(labels)]
    if fp32_right is None:
        return tuple(_class(label, right[labels == label], judgement) for label in present)
    found = [_difference(fp32_right[labels == label], right[labels == label], judgement) for label in present]
    corrected = holm([each.p_value for each in found])
    return tuple(
        _class(label, right[labels == label], judgement).model_copy(
            update={"drop": each.drop, "drop_ci95": each.drop_ci, "p_value": each.p_value, "p_value_adjusted": value}
        )
        for label, each, value in zip(present, found, corrected, strict=True)
    )


def _class(label: int, right: Flags, judgement: Judgement) -> ClassAccuracy:
    recall, n = float(right.mean()), len(right)
    return ClassAccuracy(label=label, n=n, recall=recall, recall_ci95=_share(right, judgement))


def _named(classes: tuple[ClassAccuracy, ...], names: tuple[str, ...]) -> tuple[ClassAccuracy, ...]:
    return tuple(
        each.model_copy(update={"name": names[each.label]}) if each.label < len(names) else each for each in classes
    )


def _share(right: Flags, judgement: Judgement) -> tuple[float, float]:
    return wilson_interval(int(right.sum()), len(right), judgement.confidence)


def _difference(fp32_right: Flags, right: Flags, judgement: Judgement) -> PairedDifference:
    return paired_difference(fp32_right, right, confidence=judgement.confidence, seed=judgement.seed)


METRIC = AccuracyMetric()
