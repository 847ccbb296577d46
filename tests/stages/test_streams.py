"""Samples per second of inferences side by side."""

from __future__ import annotations

import threading

import pytest
from oracles.engine_stages import ENGINE, INPUT_SHAPE, engine

from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done
from harness.engine.store import Store
from harness.stages.artifacts import StreamsResult
from harness.stages.catalog import STREAMS
from harness.stages.configs import StreamsConfig
from harness.stages.streams import inferences_per_s

LONG_S = 20.0
"""Never waited for where all is well."""


def streams_task(run_id: str = "r") -> Task:
    config = StreamsConfig(
        run_id=run_id, build=ENGINE, input_shape=INPUT_SHAPE, batch_size=4, streams=(1, 2), busy_s=0.1
    )
    return Task(STREAMS, config, {"build": engine(1)})


def test_a_real_engine_runs_with_each_number_of_streams(
    store: Store, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_MEASURING_LOCK", f"{tmp_path}/lock")
    task = streams_task()
    outcome = LocalExecutor(store, isolation="none").run([task])[task.key]
    assert isinstance(outcome, Done), outcome
    found = outcome.artifact.result(StreamsResult)
    assert [each.streams for each in found.by_streams] == [1, 2]
    for each in found.by_streams:
        assert 0 < each.slowest_per_s <= each.per_s <= each.fastest_per_s


def test_inferences_run_side_by_side() -> None:
    arrived, met = (threading.Event(), threading.Event()), []

    def infer(own: int) -> None:
        arrived[own].set()
        met.append(arrived[1 - own].wait(LONG_S))

    assert inferences_per_s([lambda: infer(0), lambda: infer(1)], 0.01) > 0
    assert all(met)


def test_an_inference_that_fails_is_told() -> None:
    def fail() -> None:
        raise ValueError("no such kernel")

    with pytest.raises(ValueError, match="no such kernel"):
        inferences_per_s([lambda: None, fail], 0.01)


def test_streams_are_measured_anew_in_every_run() -> None:
    assert streams_task("one").key != streams_task("two").key
