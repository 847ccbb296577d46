"""A scenario run from its text to its folder, in this process, in a project of its own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from harness.engine.outcomes import ignore
from harness.engine.store import Store
from harness.results import RunResults
from harness.runs.preparation import RunOptions, prepare_run
from harness.runs.run import run_scenario
from harness.scenario import load_scenario

MODELS = Path(__file__).parents[2] / "models"


def run_whole(project: Path, scenario: str, *, model_file: str = "resnet.py") -> tuple[RunResults, Path]:
    """Results and folder of `scenario`, the text of a file; the store is `project / "store"`."""
    (project / "models").mkdir()
    shutil.copy(MODELS / model_file, project / "models")
    path = project / "scenario.yaml"
    path.write_text(scenario, encoding="utf-8")
    directory = project / "run"
    directory.mkdir()
    options = RunOptions(jobs=1, isolation="none")
    with pytest.MonkeyPatch.context() as patch:
        # Never wait for a measurement that goes on elsewhere on this machine: the times here are of no interest.
        patch.setenv("HARNESS_MEASURING_LOCK", str(project / "measuring.lock"))
        prepared = prepare_run(load_scenario(path), options)
        store = Store(project / "store")
        results = run_scenario(prepared, directory, store, options, lambda: contextlib.nullcontext(ignore))
    return results, directory
