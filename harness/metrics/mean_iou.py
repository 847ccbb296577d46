"""`mean_iou`: intersection over union of predicted and true pixels, averaged over the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.data.tasks import IGNORED_LABEL, Task
from harness.metrics.task import TaskMetric

if TYPE_CHECKING:
    import torchmetrics


class MeanIou(TaskMetric):
    """Over all pixels of all images together; classes that neither occur nor are predicted do not count."""

    name: ClassVar[str] = "mean_iou"
    tasks: ClassVar[frozenset[Task] | None] = frozenset({"segmentation"})
    unit: ClassVar[str] = "share"
    header: ClassVar[str | None] = "Mean IoU"
    definition: ClassVar[str | None] = (
        "Intersection over union of predicted and true pixels of all images together, averaged over the classes."
    )

    def make(self, n_classes: int) -> torchmetrics.Metric:
        """Torchmetrics' Jaccard index."""
        from torchmetrics.classification import MulticlassJaccardIndex

        return MulticlassJaccardIndex(n_classes, ignore_index=IGNORED_LABEL, validate_args=False)


METRIC = MeanIou()
