"""`load`: figures of LoadGen, and whether its accuracy mode agrees with the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.load.logs import NOT_PREDICTED
from harness.metrics.base import Evidence, Metric
from harness.results import Load, LoadAccuracy, Record

if TYPE_CHECKING:
    import numpy.typing as npt

TIE = 1e-3
"""Share of the range of a sample's outputs within which two classes are as good as equal.

LoadGen's batches are not those of the evaluation, and float kernels may sum in another order.
"""
_NAMED = 5


class LoadMetric(Metric):
    """Throughput and latency under traffic."""

    name: ClassVar[str] = "load"
    section: ClassVar[str | None] = "load"

    def compute(self, evidence: Evidence) -> Load | None:
        """None when no load scenario was run."""
        measured = evidence.load
        if measured is None:
            return None
        accuracy = None
        is_classified = evidence.task == "classification" and evidence.outputs is not None
        if measured.predictions is not None and is_classified:
            assert evidence.outputs is not None
            accuracy = compare_predictions(measured.predictions, evidence.outputs)
        return Load(
            results=measured.results,
            accuracy=accuracy,
            overhead_us=measured.overhead_us,
            loadgen_version=measured.version,
        )

    def fault(self, record: Record) -> str | None:
        """Predictions under LoadGen that are not those of the evaluation."""
        accuracy = record.accuracy if isinstance(record, Load) else None
        if accuracy is None or not accuracy.disagreements:
            return None
        return (
            f"LoadGen's accuracy mode predicts another class than the evaluation for {accuracy.disagreements:,} of "
            f"{accuracy.n:,} test samples, first for {', '.join(map(str, accuracy.first))}"
        )


def compare_predictions(predictions: npt.NDArray[np.int64], outputs: npt.NDArray[np.float32]) -> LoadAccuracy:
    """Classes (n,) from LoadGen's log against outputs (n, classes) of the evaluation."""
    rows = np.arange(len(outputs))
    ours = outputs.argmax(axis=1)
    is_known = (predictions > NOT_PREDICTED) & (predictions < outputs.shape[1])
    differs = predictions != ours
    theirs = np.where(is_known, predictions, ours)
    gap = outputs[rows, ours] - outputs[rows, theirs]
    is_tie = differs & is_known & (gap <= TIE * np.ptp(outputs, axis=1))
    disagree = np.flatnonzero(differs & ~is_tie)
    return LoadAccuracy(
        n=len(outputs),
        disagreements=len(disagree),
        ties=int(is_tie.sum()),
        first=tuple(int(index) for index in disagree[:_NAMED]),
    )


METRIC = LoadMetric()
