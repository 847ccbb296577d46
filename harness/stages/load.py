"""The stage `load`: every load scenario of one variant, and LoadGen's accuracy mode.

This module is imported by workers only, for LoadGen may not be installed; `catalog.py` names the function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.engine.lock import measuring
from harness.load import version
from harness.load.base import Expected
from harness.load.library import SampleLibrary
from harness.load.logs import load_result
from harness.load.run import overhead_us, run_test, warm_up
from harness.load.scenarios import get_load_scenario
from harness.load.settings import LoadSettings
from harness.results import LoadResult
from harness.stages.artifacts import LoadResults, file_of
from harness.stages.configs import LoadConfig
from harness.stages.loading import read_splits
from harness.targets import get_target

ACCURACY = "accuracy"
"""Folder of the logs of accuracy mode."""
_ACCURACY_SCENARIO = "offline"
"""Its one query has all test samples, in the batches that every load scenario runs."""


def measure_load(config: LoadConfig, inputs: Inputs, folder: Path, context: StageContext) -> LoadResults:
    """LoadGen's figures by load scenario; its logs in a folder each."""
    target = get_target(config.build.target)
    session = target.open(file_of(inputs["build"]), target.options_from(config.build.options))
    library = SampleLibrary(read_splits(config.data).test)
    if config.accuracy:
        _accuracy_mode(session, library, folder / ACCURACY, config)
    results: dict[str, LoadResult] = {}
    with measuring(lambda holder: context.waiting(f"waiting for another measurement: {holder}")):
        context.working()
        overhead = overhead_us(library)
        for number, (name, values) in enumerate(config.load.items(), start=1):
            scenario = get_load_scenario(name)
            settings = scenario.settings_type.model_validate(values)
            expected = warm_up(session, library, config.batch_size, settings.warmup_ms / 1e3)
            log = run_test(
                scenario, settings, session, library, folder / scenario.name, expected=expected, seed=config.seed
            )
            result = load_result(scenario, log)
            results[scenario.name] = result
            if not result.valid:
                context.note(f"{scenario.name} is INVALID: {result.reason}")
            context.progress(number, len(config.load), "load scenarios")
    return LoadResults(results=results, overhead_us=overhead, version=version())


def _accuracy_mode(session: Any, library: SampleLibrary, folder: Path, config: LoadConfig) -> None:
    scenario = get_load_scenario(_ACCURACY_SCENARIO)
    expected = Expected(single_ms=1.0, batch_ms=1.0, batch_size=config.batch_size)
    settings: LoadSettings = scenario.settings_type()
    run_test(scenario, settings, session, library, folder, expected=expected, mode="AccuracyOnly", seed=config.seed)
