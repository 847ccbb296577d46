"""Load scenarios of a run: which variants have them, what came out, and where the logs are kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.engine.store import Artifact
from harness.load.base import LoadMeasured
from harness.load.logs import ACCURACY, read_predictions
from harness.runs.passes import Outcomes, Tasks, tasks_each
from harness.stages.artifacts import LoadResults

if TYPE_CHECKING:
    from harness.runs.preparation import Prepared

LOGS = "load"
"""Folder of the run that LoadGen's logs are kept in, by variant."""
_PREDICTIONS = f"accuracy/{ACCURACY}"


def load_tasks(prepared: Prepared, outcomes: Outcomes | None, measurement_id: str) -> Tasks:
    """All load scenarios of a variant in one task; none when the scenario has no load scenario."""
    return tasks_each(prepared.plans, outcomes, lambda plan: prepared.planner.load(plan, measurement_id))


def streams_tasks(prepared: Prepared, outcomes: Outcomes | None, measurement_id: str) -> Tasks:
    """Inferences side by side, in one task for each variant whose target can; none when the scenario asks for none."""
    return tasks_each(prepared.plans, outcomes, lambda plan: prepared.planner.streams(plan, measurement_id))


def load_measured(artifact: Artifact, outputs: npt.NDArray[np.float32] | None) -> LoadMeasured:
    """What a `load` artifact holds; `outputs` are those of the evaluation, None when there was none."""
    found = artifact.result(LoadResults)
    predictions = None
    if outputs is not None and _PREDICTIONS in artifact.manifest.files:
        predictions = read_predictions(artifact.file(_PREDICTIONS), len(outputs))
    return LoadMeasured(found.results, found.overhead_us, found.version, predictions)


def keep_logs(artifact: Artifact, directory: Path, variant_id: str) -> str:
    """Copy LoadGen's logs into the run's folder; their place in it."""
    place = Path(LOGS) / variant_id
    for name in artifact.manifest.files:
        copy = directory / place / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.file(name), copy)
    return place.as_posix()
