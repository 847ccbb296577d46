"""Runs a scenario as `harness run` does, for a pytest session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from harness.engine.outcomes import Listener
from harness.engine.progress import progress_display
from harness.engine.store import Store, default_root
from harness.history.place import history_path
from harness.pytest_plugin.cell import LoadedScenario
from harness.pytest_plugin.state import STATE
from harness.results import RunResults
from harness.runs.complete import complete_run, run_options
from harness.runs.preparation import prepare_run


def run_matrix(loaded: LoadedScenario, chosen: AbstractSet[str], directory: Path, config: pytest.Config) -> RunResults:
    """Run the variants with the ids in `chosen`, and their FP32 rows; HarnessError for what cannot be started."""
    settings, scenario = config.stash[STATE].settings, loaded.scenario
    if not settings.latency:
        measurement = scenario.measurement.model_copy(update={"latency": False})
        scenario = scenario.model_copy(update={"measurement": measurement})
    options = run_options(
        isolation=settings.isolation, download=settings.download, select=lambda variant: variant.id in chosen
    )
    done = complete_run(
        prepare_run(scenario, options),
        directory,
        Store(settings.store or default_root()),
        options,
        _display(config),
        history=history_path(scenario.root) if settings.history else None,
    )
    for problem in done.problems:
        raise problem
    return done.results


def _display(config: pytest.Config) -> Callable[[], AbstractContextManager[Listener]]:
    """Bars on a terminal, lines with `-v`; none in xdist workers, whose output is not shown."""
    verbosity = config.get_verbosity()
    is_shown = verbosity >= 0 and (verbosity > 0 or (sys.__stderr__ is not None and sys.__stderr__.isatty()))

    @contextmanager
    def show() -> Iterator[Listener]:
        capture = config.pluginmanager.getplugin("capturemanager")
        if not is_shown or hasattr(config, "workerinput"):
            capture = None
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            if capture:
                sys.stderr.write("\n")  # pytest has begun a line
            with progress_display(quiet=capture is None) as listener:
                yield listener

    return show
