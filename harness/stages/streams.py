"""The stage `streams`: samples per second of one engine while several inferences run side by side.

This module is imported by workers only; `catalog.py` names the function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.engine.lock import measuring
from harness.results import StreamThroughput
from harness.stages.artifacts import StreamsResult, file_of
from harness.stages.configs import StreamsConfig
from harness.targets import get_target

BLOCKS: Final = 5
Infer = Callable[[], object]


def measure_streams(config: StreamsConfig, inputs: Inputs, folder: Path, context: StageContext) -> StreamsResult:
    """Blocks of inferences with each number of streams in turn."""
    calls = {streams: _streams(config, file_of(inputs["build"]), streams) for streams in config.streams}
    per_s: dict[int, list[float]] = {streams: [] for streams in calls}
    with measuring(lambda holder: context.waiting(f"waiting for another measurement: {holder}")):
        context.working()
        for number in range(BLOCKS):
            for streams, infer in calls.items():
                per_s[streams].append(config.batch_size * inferences_per_s(infer, config.busy_s / BLOCKS))
            context.progress(number + 1, BLOCKS, "blocks")
    return StreamsResult(by_streams=tuple(_summary(streams, rates) for streams, rates in per_s.items()))


def inferences_per_s(calls: list[Infer], seconds: float) -> float:
    """Of all calls together, each repeated in a thread of its own; none begins after that time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return sum(pool.map(lambda infer: _rate(infer, seconds), calls))


def _rate(infer: Infer, seconds: float) -> float:
    started, done, now = time.perf_counter(), 0, 0.0
    while now < seconds:
        infer()
        done += 1
        now = time.perf_counter() - started
    return done / now


def _streams(config: StreamsConfig, path: Path, streams: int) -> list[Infer]:
    """An inference for each stream, with buffers of its own, run once: engines take memory when they first run."""
    target = get_target(config.build.target)
    options = target.with_streams(target.options_from(config.build.options), streams)
    assert options is not None  # else there is no such task
    session, random = target.open(path, options), np.random.default_rng(0)
    shape = (config.batch_size, *config.input_shape)
    calls = [session.prepared(random.standard_normal(shape, dtype=np.float32)) for _ in range(streams)]
    for infer in calls:
        infer()
    return calls


def _summary(streams: int, rates: list[float]) -> StreamThroughput:
    return StreamThroughput(
        streams=streams, per_s=float(np.median(rates)), slowest_per_s=min(rates), fastest_per_s=max(rates)
    )
