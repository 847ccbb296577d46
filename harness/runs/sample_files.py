"""What a run keeps of every test sample, so that all figures of accuracy can be computed again.

The columns of the files are described in `docs/samples.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.metrics import metrics
from harness.metrics.base import Evidence
from harness.metrics.task import TaskMetric
from harness.stats.ranking import top_classes

PREDICTIONS: Final = "samples/predictions.parquet"
METRIC_STATES: Final = "samples/metric_states.parquet"
TOP_CLASSES: Final = "samples/top_classes.parquet"


def keep_predictions(directory: Path, evidence: Sequence[Evidence]) -> dict[str, str]:
    """Write the predictions of all variants below `directory`; returns the files by what they hold."""
    judged = [item for item in evidence if item.network_outputs is not None]
    if any(item.task != "classification" for item in judged):
        return _keep_states(directory, judged)
    if not judged:
        return {}
    (directory / PREDICTIONS).parent.mkdir(parents=True, exist_ok=True)
    _predictions(judged).to_parquet(directory / PREDICTIONS, index=False)
    _top_classes(judged).to_parquet(directory / TOP_CLASSES, index=False)
    return {"predictions": PREDICTIONS, "top_classes": TOP_CLASSES}


def _predictions(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """One line per test sample: the label, and the class that each variant predicts."""
    columns: dict[str, Any] = {}
    for item in evidence:
        if item.labels is not None:
            columns["label"] = item.labels
            if item.class_names:
                columns["label_name"] = _names(item.labels, item.class_names)
    for item in evidence:
        columns[item.variant.id] = _outputs(item).argmax(axis=1)
    return pd.DataFrame(columns)


def _top_classes(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """One line per variant, test sample and rank."""
    return pd.concat([_top_of(item) for item in evidence], ignore_index=True).astype({"variant": "category"})


def _top_of(item: Evidence) -> pd.DataFrame:
    classes, scores = top_classes(_outputs(item))
    n, k = classes.shape
    return pd.DataFrame(
        {
            "variant": item.variant.id,
            "sample": np.repeat(np.arange(n, dtype=np.int32), k),
            "rank": np.tile(np.arange(1, k + 1, dtype=np.int8), n),
            "class": classes.ravel(),
            "class_name": _names(classes.ravel(), item.class_names),
            "score": scores.ravel(),
        }
    )


def _names(classes: npt.NDArray[np.integer[Any]], names: tuple[str, ...]) -> pd.Series[Any]:
    """The name of each class; the number as text where it has none."""
    numbers = np.unique(classes)
    known = [names[number] if number < len(names) else str(number) for number in numbers]
    return pd.Series(np.array(known, dtype=object)[np.searchsorted(numbers, classes)], dtype="category")


def _keep_states(directory: Path, evidence: Sequence[Evidence]) -> dict[str, str]:
    """What the metrics of the task count in every sample: outputs for every pixel would fill disks."""
    found = [
        _states_of(item, metric)
        for item in evidence
        for metric in metrics().values()
        if isinstance(metric, TaskMetric) and item.labels is not None and item.task in (metric.tasks or ())
    ]
    if not any(map(len, found)):
        return {}
    (directory / METRIC_STATES).parent.mkdir(parents=True, exist_ok=True)
    frame = pd.concat(found, ignore_index=True)
    frame.astype(dict.fromkeys(("variant", "metric", "state"), "category")).to_parquet(
        directory / METRIC_STATES, index=False
    )
    return {"metric_states": METRIC_STATES}


def _states_of(item: Evidence, metric: TaskMetric) -> pd.DataFrame:
    """One line per sample, state and element of the state."""
    assert item.labels is not None
    parts = []
    for name, values in metric.states(_outputs(item), item.labels).sums.items():
        flat = values.reshape(len(values), -1)
        n, size = flat.shape
        columns = {
            "variant": item.variant.id,
            "metric": metric.name,
            "state": name,
            "sample": np.repeat(np.arange(n, dtype=np.int32), size),
            "element": np.tile(np.arange(size, dtype=np.int32), n),
            "value": flat.ravel(),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _outputs(item: Evidence) -> npt.NDArray[np.float32]:
    assert item.network_outputs is not None
    return item.network_outputs
