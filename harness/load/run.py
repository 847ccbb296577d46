"""One test: LoadGen issues queries, a session answers them, and LoadGen judges."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import mlperf_loadgen
import numpy as np

from harness.load.base import Expected, LoadScenario
from harness.load.library import SampleLibrary
from harness.load.logs import Log, read_log
from harness.load.scenarios import load_scenarios
from harness.load.settings import LoadSettings
from harness.load.system import QueuedSystem, Runs, SystemUnderTest

if TYPE_CHECKING:
    from harness.targets.base import Array, Session

Mode = Literal["PerformanceOnly", "AccuracyOnly"]
OVERHEAD_QUERIES = 2000
_TRACE = "mlperf_log_trace.json"


class NoSession:
    """Answers at once: what is left of the time is LoadGen's and Python's."""

    def run(self, batch: Array) -> Array:
        """Zeros, one class."""
        return np.zeros((len(batch), 1), np.float32)

    def prepared(self, batch: Array) -> Callable[[], object]:
        """Nothing."""
        return lambda: None


def warm_up(session: Session, library: SampleLibrary, batch_size: int, seconds: float) -> Expected:
    """Run single samples and batches untimed, half of the time each; how long they take."""
    library.load(range(min(batch_size, len(library))))
    samples = [number % len(library) for number in range(batch_size)]
    single_ms = _typical_ms(session, library.batch(samples[:1]), seconds / 2)
    return Expected(single_ms, _typical_ms(session, library.batch(samples), seconds / 2), batch_size)


def run_test(
    scenario: LoadScenario,
    settings: LoadSettings,
    session: Runs,
    library: SampleLibrary,
    folder: Path,
    *,
    expected: Expected,
    mode: Mode = "PerformanceOnly",
    seed: int = 0,
) -> Log:
    """Run one test and leave LoadGen's logs in `folder`; what went wrong in the session is raised."""
    folder.mkdir(parents=True, exist_ok=True)
    test = _test_settings(scenario, settings, expected, mode, seed)
    held = min(len(library), settings.performance_sample_count)
    kind = QueuedSystem if scenario.is_queued else SystemUnderTest
    system = kind(session, library, expected.batch_size, logs_predictions=mode == "AccuracyOnly")
    issue = system.enqueue if isinstance(system, QueuedSystem) else system.answer
    sut = mlperf_loadgen.ConstructFastSUT(issue, _nothing_to_flush)
    qsl = mlperf_loadgen.ConstructQSL(len(library), held, system.load, system.unload)
    try:

        def start() -> None:
            mlperf_loadgen.StartTestWithLogSettings(sut, qsl, test, _log_settings(folder), "")

        if isinstance(system, QueuedSystem):
            system.serve(start)
        else:
            start()
    finally:
        mlperf_loadgen.DestroyQSL(qsl)
        mlperf_loadgen.DestroyFastSUT(sut)
    (folder / _TRACE).unlink(missing_ok=True)  # empty, as tracing is off
    system.check()
    return read_log(folder)


def overhead_us(library: SampleLibrary) -> float:
    """Median time of a query that nothing answers: LoadGen, the callback in Python, and the response."""
    scenario = load_scenarios()["single_stream"]
    settings = scenario.settings_type(min_duration_ms=0, min_query_count=OVERHEAD_QUERIES)
    expected = Expected(single_ms=0.001, batch_ms=0.001, batch_size=1)
    with tempfile.TemporaryDirectory() as name:
        log = run_test(scenario, settings, NoSession(), library, Path(name), expected=expected)
    return float(log["result_50.00_percentile_latency_ns"]) / 1e3


def _test_settings(scenario: LoadScenario, settings: LoadSettings, expected: Expected, mode: Mode, seed: int) -> Any:
    test = mlperf_loadgen.TestSettings()
    test.scenario = getattr(mlperf_loadgen.TestScenario, scenario.loadgen_name)
    test.mode = getattr(mlperf_loadgen.TestMode, mode)
    test.min_duration_ms = settings.min_duration_ms
    test.min_query_count = settings.min_query_count
    test.qsl_rng_seed = test.sample_index_rng_seed = test.schedule_rng_seed = seed
    scenario.configure(test, settings, expected)
    return test


def _log_settings(folder: Path) -> Any:
    logs = mlperf_loadgen.LogSettings()
    logs.log_output.outdir = str(folder)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    return logs


def _typical_ms(session: Session, batch: Array, seconds: float) -> float:
    deadline, times = time.perf_counter() + seconds, session.time_runs(batch, 1)
    while time.perf_counter() < deadline:
        times += session.time_runs(batch, 1)
    return max(float(np.median(times)), 1e-3)


def _nothing_to_flush() -> None:
    pass
