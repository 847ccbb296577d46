"""Load scenarios of a run: which variants have them, what came out, and where the logs are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Outcome
from harness.engine.store import Artifact
from harness.load import MODULE, availability
from harness.load.base import LoadMeasured
from harness.load.logs import ACCURACY, read_predictions
from harness.runs.availability import with_imports
from harness.runs.plan import VariantPlan
from harness.scenario import Scenario
from harness.stages.artifacts import LoadResults

LOGS = "load"
"""Folder of the run that LoadGen's logs are kept in, by variant."""
_PREDICTIONS = f"accuracy/{ACCURACY}"


def check_load(scenario: Scenario) -> None:
    """ScenarioError when the scenario asks for load scenarios and LoadGen is not installed."""
    found = availability()
    found = with_imports(found, (MODULE,)) if found.usable else found
    if scenario.measurement.load and not found.usable:
        message = f"load scenarios cannot run: {found.detail}"
        raise scenario.error(("measurement", "load"), message, fix=found.fix, on_key=True)


def run_each(
    plans: Sequence[VariantPlan],
    make_task: Callable[[VariantPlan, str], Task | None],
    executor: LocalExecutor,
    outcomes: Mapping[str, Outcome],
    run_id: str,
) -> list[tuple[Task, Outcome, tuple[str, ...]]]:
    """The task of each variant whose engine was built and runs here, where `make_task` has one for it."""
    tasks: dict[Task, str] = {}
    for plan in plans:
        if plan.engine_runs(outcomes) and (task := make_task(plan, run_id)) is not None:
            tasks[task] = plan.variant.id
    finished = executor.run(list(tasks)) if tasks else {}
    return [(task, finished[task.key], (variant_id,)) for task, variant_id in tasks.items()]


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
