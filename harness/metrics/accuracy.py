"""`accuracy`: top-1, top-5 and recall per class on the test samples, and the paired differences to FP32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.data.tasks import Task
from harness.metrics.base import Evidence, Metric
from harness.results import Accuracy, ClassAccuracy, ConfidenceInterval, Confusion, PairedComparison
from harness.stats.intervals import PairedDifference, paired_difference, wilson_interval
from harness.stats.ranking import TOP_K, label_ranks
from harness.verdicts.settings import Judgement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int64]
    Ranks = npt.NDArray[np.int64]

_CONFUSIONS_KEPT = 400


class AccuracyMetric(Metric):
    """Every row is judged on the same samples as its FP32 row."""

    name: ClassVar[str] = "accuracy"
    section: ClassVar[str | None] = "accuracy"
    tasks: ClassVar[frozenset[Task] | None] = frozenset({"classification"})

    def compute(self, evidence: Evidence) -> Accuracy | None:
        """Shares in [0, 1]; None without labels. What they prove is judged with all rows together."""
        outputs, labels = evidence.network_outputs, evidence.labels
        if outputs is None or labels is None:
            return None
        reference = None if evidence.is_reference else evidence.reference_outputs
        found = accuracy_of(outputs, reference, labels, evidence.judgement, evidence.reference_id, evidence.seed)
        return found.model_copy(update={"classes": _named(found.classes, evidence.class_names)})


def accuracy_of(
    outputs: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32] | None,
    labels: Labels,
    judgement: Judgement,
    reference_id: str | None = None,
    seed: int = 0,
) -> Accuracy:
    """From outputs (n, classes), those of FP32 on the same samples (None for FP32 itself) and labels (n,)."""
    ranks = label_ranks(outputs, labels)
    fp32_ranks = None if reference is None else label_ranks(reference, labels)
    pairs = _Pairs(judgement, reference_id, seed)
    figures = _top1(ranks, fp32_ranks, pairs)
    if outputs.shape[1] > TOP_K:
        figures |= _top5(ranks, fp32_ranks, pairs)
    if reference is not None:
        same = outputs.argmax(axis=1) == reference.argmax(axis=1)
        figures |= {"agreement": float(same.mean()), "agreement_interval": pairs.share(same)}
    classes = _classes(ranks == 0, None if fp32_ranks is None else fp32_ranks == 0, labels, pairs)
    return Accuracy(n=len(labels), classes=classes, confusions=_confusions(outputs.argmax(axis=1), labels), **figures)


@dataclass(frozen=True)
class _Pairs:
    """Shares, and their differences to FP32 on the same samples."""

    judgement: Judgement
    reference_id: str | None
    seed: int

    def share(self, right: Flags) -> ConfidenceInterval:
        """Wilson interval of the share that is right."""
        confidence = self.judgement.confidence
        return ConfidenceInterval.of(wilson_interval(int(right.sum()), len(right), confidence), confidence)

    def difference(self, fp32_right: Flags, right: Flags) -> PairedDifference:
        """What was lost."""
        return paired_difference(fp32_right, right, confidence=self.judgement.confidence, seed=self.seed)

    def comparison(self, fp32_right: Flags, right: Flags) -> PairedComparison:
        """The same as a record, not judged yet."""
        return self.recorded(fp32_right, right, self.difference(fp32_right, right))

    def recorded(
        self, fp32_right: Flags, right: Flags, found: PairedDifference, margin: float | None = None
    ) -> PairedComparison:
        """A difference that was found already."""
        return PairedComparison.of_shares(
            float(right.mean()),
            float(fp32_right.mean()),
            found,
            self.judgement.confidence,
            reference=self.reference_id,
            margin=margin,
        )


def _top1(ranks: Ranks, fp32_ranks: Ranks | None, pairs: _Pairs) -> dict[str, Any]:
    right = ranks == 0
    figures: dict[str, Any] = {"top1": float(right.mean()), "top1_interval": pairs.share(right)}
    if fp32_ranks is None:
        return figures
    found = pairs.difference(fp32_ranks == 0, right)
    bootstrap = found.bootstrap_ci
    return figures | {
        "comparison": pairs.recorded(fp32_ranks == 0, right, found, pairs.judgement.accuracy_margin),
        "drop_bootstrap_interval": bootstrap and ConfidenceInterval.of(bootstrap, pairs.judgement.confidence),
    }


def _top5(ranks: Ranks, fp32_ranks: Ranks | None, pairs: _Pairs) -> dict[str, Any]:
    right = ranks < TOP_K
    figures: dict[str, Any] = {"top5": float(right.mean()), "top5_interval": pairs.share(right)}
    if fp32_ranks is None:
        return figures
    return figures | {"top5_comparison": pairs.comparison(fp32_ranks < TOP_K, right)}


def _classes(right: Flags, fp32_right: Flags | None, labels: Labels, pairs: _Pairs) -> tuple[ClassAccuracy, ...]:
    """Recall of every class that has samples."""
    import numpy as np

    return tuple(_class(int(label), right, fp32_right, labels == label, pairs) for label in np.unique(labels))


def _class(label: int, right: Flags, fp32_right: Flags | None, chosen: Flags, pairs: _Pairs) -> ClassAccuracy:
    own = right[chosen]
    comparison = None if fp32_right is None else pairs.comparison(fp32_right[chosen], own)
    return ClassAccuracy(
        label=label, n=len(own), recall=float(own.mean()), interval=pairs.share(own), comparison=comparison
    )


def _confusions(predicted: Labels, labels: Labels) -> tuple[Confusion, ...]:
    """Only `_CONFUSIONS_KEPT`: with a thousand classes there is little to see in the rest."""
    import numpy as np

    wrong = np.stack([labels, predicted], axis=1)[labels != predicted]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    chosen = np.argsort(-counts, kind="stable")[:_CONFUSIONS_KEPT]
    return tuple(
        Confusion(label=label, predicted=other, n=n)
        for (label, other), n in zip(pairs[chosen].tolist(), counts[chosen].tolist(), strict=True)
    )


def _named(classes: tuple[ClassAccuracy, ...], names: tuple[str, ...]) -> tuple[ClassAccuracy, ...]:
    return tuple(
        each.model_copy(update={"name": names[each.label]}) if each.label < len(names) else each for each in classes
    )


METRIC = AccuracyMetric()
