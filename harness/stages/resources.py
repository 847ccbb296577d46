"""The stages `memory` and `energy`: one engine in a process that imports no more than its target needs.

This module is imported by workers only; `catalog.py` names the functions. It must not import torch, whose memory would
stand in the way.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.engine.child import run_child
from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.engine.lock import measuring
from harness.errors import StageError
from harness.machine.energy import EnergyCounter, open_counter
from harness.machine.host_memory import PeakMemory, release_free_memory
from harness.machine.nvml import NvmlGpu, NvmlUnavailable
from harness.metrics.energy import EnergyReading, energy_per_inference
from harness.results import Energy, Memory
from harness.stages.artifacts import file_of
from harness.targets import get_target

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from harness.stages.configs import BuildConfig, EnergyConfig, MemoryConfig
    from harness.targets.base import Session

INFERENCES: Final = 10
"""Buffers are taken in the first ones; more change nothing."""
BLOCKS: Final = 3
_TURN_S: Final = 0.05
"""Inferences between two readings of the clock."""


def measure_memory(config: MemoryConfig, inputs: Inputs, folder: Path, context: StageContext) -> Memory:
    """Peak memory of opening the engine and running it, in a process that has done nothing before."""
    order = pickle.dumps((config, file_of(inputs["build"])))
    # Named by reference: its source is part of this stage's.
    ended = run_child(f"{__name__}:{memory_main.__name__}", order.hex())
    if ended.exit_code != 0 or not ended.reply:
        raise StageError(f"the process that opened the engine: {ended.reason}")
    return Memory.model_validate_json(ended.reply)


def memory_main(order: str) -> str:
    """The inside of that process: `Memory` as JSON, from the configuration and the engine's path, pickled, in hex."""
    return memory_of(*pickle.loads(bytes.fromhex(order))).model_dump_json()  # noqa: S301  # from our own parent


def memory_of(config: MemoryConfig, path: Path) -> Memory:
    """Memory of this process while it opens and runs the engine; the outputs are discarded."""
    for plugin in config.build.plugins:
        plugin.load_user_code()  # a process of its own has not loaded it yet
    target = get_target(config.build.target)
    batch = _batch(config.input_shape, config.batch_size)
    target.load_library()
    gpu, device_source = _gpu() if target.needs_gpu else (None, None)
    device_before = gpu.memory() if gpu else None
    release_free_memory()
    host = PeakMemory()
    session = _open(config.build, path)
    for _ in range(INFERENCES):
        session.run(batch)
    peak = host.read()
    device_bytes = None
    if gpu is not None and device_before is not None:
        now = gpu.memory()
        device_bytes = now.bytes if now.is_of_process else now.bytes - device_before.bytes
        device_source = "NVML, this process" if now.is_of_process else "NVML, increase of the whole device"
    return Memory(
        baseline_bytes=peak.baseline_bytes,
        peak_bytes=peak.peak_bytes,
        increase_bytes=peak.increase_bytes,
        source=peak.source,
        inferences=INFERENCES,
        device_bytes=device_bytes,
        device_source=device_source,
    )


def measure_energy(config: EnergyConfig, inputs: Inputs, folder: Path, context: StageContext) -> Energy:
    """Idle power with the engine open, then blocks of inferences."""
    target = get_target(config.build.target)
    counter = open_counter("gpu" if target.needs_gpu else "cpu")
    session = _open(config.build, file_of(inputs["build"]))
    batch = _batch(config.input_shape, config.batch_size)
    with measuring(lambda holder: context.waiting(f"waiting for another measurement: {holder}")):
        context.working()
        runs = _runs_per_turn(session, batch)
        idle = _counted(counter, lambda: _wait(config.idle_s))
        blocks = []
        for number in range(BLOCKS):
            blocks.append(_counted(counter, lambda: _infer(session, batch, runs, config.busy_s / BLOCKS)))
            context.progress(number + 1, BLOCKS, "blocks")
    return energy_per_inference(idle, blocks, counter.source)


def _gpu() -> tuple[NvmlGpu | None, str | None]:
    try:
        return NvmlGpu(), None
    except NvmlUnavailable as error:
        return None, str(error)


def _open(config: BuildConfig, path: Path) -> Session:
    target = get_target(config.target)
    return target.open(path, target.options_from(config.options))


def _batch(input_shape: tuple[int, int, int], batch_size: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((batch_size, *input_shape), dtype=np.float32)


def _counted(counter: EnergyCounter, work: Callable[[], int]) -> EnergyReading:
    before, started = counter.joules(), time.perf_counter()
    inferences = work()
    seconds = time.perf_counter() - started
    return EnergyReading(joules=counter.joules() - before, seconds=seconds, inferences=inferences)


def _wait(seconds: float) -> int:
    time.sleep(seconds)
    return 0


def _runs_per_turn(session: Session, batch: Any) -> int:
    """Inferences in a turn, from a few that also warm up."""
    times_ms = session.time_runs(batch, INFERENCES)
    return max(1, int(_TURN_S * 1e3 / max(float(np.median(times_ms)), 1e-3)))


def _infer(session: Session, batch: Any, runs: int, seconds: float) -> int:
    end, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        session.time_runs(batch, runs)
        done += runs
    return done
