"""Real tests of LoadGen against a session whose answers are known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.load.base import Expected
from harness.load.library import SampleLibrary
from harness.load.logs import ACCURACY, DETAIL, SUMMARY, load_result, read_predictions
from harness.load.scenarios import load_scenarios

pytest.importorskip("mlperf_loadgen", reason="the extra `loadgen` is not installed")

from harness.load.run import overhead_us, run_test, warm_up

N = 50
QUERIES = 700  # early stopping needs 64 queries for a 90th percentile and 662 for a 99th
QUICK: dict[str, dict[str, Any]] = {
    "single_stream": {},
    "multi_stream": {"samples_per_query": 6},
    "offline": {},
    "server": {"target_qps": 5000, "target_latency_ms": 600_000},
}
"""No test here depends on how fast the machine is: the bound of `server` is ten minutes."""


@pytest.fixture
def start(session: Any, library: SampleLibrary, tmp_path: Path) -> Any:
    def run(name: str, batch_size: int = 4, mode: str = "PerformanceOnly", **settings: Any) -> Any:
        scenario = load_scenarios()[name]
        given = {"min_duration_ms": 0, "min_query_count": QUERIES} | QUICK[name] | settings
        chosen = scenario.settings_type.model_validate(given)
        expected = Expected(single_ms=0.1, batch_ms=0.1, batch_size=batch_size)
        return run_test(scenario, chosen, session, library, tmp_path, expected=expected, mode=mode)

    return run


@pytest.mark.parametrize("name", sorted(load_scenarios()))
class TestEveryLoadScenario:
    def test_runs_and_is_valid(self, start: Any, name: str) -> None:
        result = load_result(load_scenarios()[name], start(name))
        assert result.valid, result.reason
        assert result.queries * result.samples_per_query >= QUERIES
        assert result.samples_per_s is None or result.samples_per_s > 0

    def test_every_sample_that_was_issued_was_run(self, start: Any, session: Any, name: str) -> None:
        log = start(name)
        assert sum(session.batches) == log["result_query_count"] * log["effective_samples_per_query"]
        assert max(session.batches) <= 4

    def test_loadgens_own_logs_are_kept(self, start: Any, tmp_path: Path, name: str) -> None:
        start(name)
        assert "Result is : VALID" in (tmp_path / SUMMARY).read_text(encoding="utf-8")
        assert {path.name for path in tmp_path.iterdir()} == {SUMMARY, DETAIL, ACCURACY}

    def test_an_error_of_the_session_is_raised_when_the_test_has_ended(
        self, start: Any, session: Any, name: str
    ) -> None:
        def fail(batch: np.ndarray) -> np.ndarray:
            raise ValueError("the device is gone")

        session.run = fail
        with pytest.raises(ValueError, match="the device is gone"):
            start(name)

    def test_accuracy_mode_logs_the_class_of_every_sample(self, start: Any, tmp_path: Path, name: str) -> None:
        # Eight samples are held at once: the test set is loaded in parts.
        start(name, mode="AccuracyOnly", performance_sample_count=8)
        assert read_predictions(tmp_path / ACCURACY, N).tolist() == [index % 7 for index in range(N)]


def test_a_query_is_cut_into_batches(start: Any, session: Any) -> None:
    start("multi_stream", batch_size=4, samples_per_query=6)
    assert session.batches[:4] == [4, 2, 4, 2]


def test_a_server_that_misses_its_bound_is_invalid_and_says_why(start: Any) -> None:
    log = start("server", target_latency_ms=1e-6)  # a nanosecond
    result = load_result(load_scenarios()["server"], log)
    assert not result.valid
    assert result.late_queries == result.queries
    assert "not met: latency bound" in str(result.reason)
    assert "Reduce target QPS" in str(result.reason)


def test_a_rate_far_too_high_ends_early(start: Any, session: Any) -> None:
    # 20,000 queries in a fifth of a second, for which the session would need 20 seconds; 1,000 may be unanswered.
    def slow(batch: np.ndarray, run: Any = session.run) -> np.ndarray:
        time.sleep(0.001)
        return run(batch)

    session.run = slow
    log = start("server", batch_size=1, min_query_count=20_000, target_qps=100_000, target_latency_ms=1)
    result = load_result(load_scenarios()["server"], log)
    assert "Too many outstanding queries" in str(result.reason)
    assert result.queries < 20_000


def test_warming_up_runs_single_samples_and_whole_batches(session: Any, library: SampleLibrary) -> None:
    sizes: list[int] = []

    def time_runs(batch: np.ndarray, runs: int) -> list[float]:
        sizes.append(len(batch))
        return [0.5 * len(batch)] * runs

    session.time_runs = time_runs
    expected = warm_up(session, library, batch_size=64, seconds=0.0)
    assert sizes == [1, 64]  # more than the 50 samples that there are
    assert (expected.single_ms, expected.batch_ms) == (0.5, 32.0)
    assert expected.samples_per_s == 64 / 0.032
    assert expected.query_ms(1) == 0.5
    assert expected.query_ms(130) == 3 * 32.0  # 64 + 64 + 2 samples


def test_the_overhead_is_that_of_a_query_that_nothing_answers(library: SampleLibrary) -> None:
    assert 0 < overhead_us(library) < 1e6
