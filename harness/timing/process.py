"""The inside of a timing process.

Imports no more than the targets need: a process is started for about every second of measuring.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.machine.nvml import NvmlGpu
from harness.targets import get_target
from harness.timing.contamination import ContaminationMonitor, Signal, gpu_signals, host_signals
from harness.timing.request import TimingRequest
from harness.timing.rounds import time_rounds
from harness.timing.samples import ProcessRounds, save_block
from harness.timing.turns import TURN, Turns

if TYPE_CHECKING:
    from harness.targets.base import Array, Session

STARTED_S = time.perf_counter()
PARTS_RUNS = 20


def main(order_json: str, result: str) -> None:
    """Time what the order says, write the block to the path `result`."""
    order = TimingRequest.model_validate_json(order_json)
    for call in order.before:
        call.run()
    sessions = {}
    needs_gpu = False
    turns = Turns(Path(result).with_name(TURN), list(order.sessions))
    for name, engine in order.sessions.items():
        turns.begin(name)
        target = get_target(engine.target)
        needs_gpu |= target.needs_gpu
        sessions[name] = target.open(engine.path, target.options_from(engine.options))
    batch = np.random.default_rng(order.seed).standard_normal(order.batch_shape, dtype=np.float32)
    watch = ContaminationMonitor([*host_signals(), *(_gpu_signals() if needs_gpu else ())])
    rounds = time_rounds(
        sessions,
        batch,
        order.plan,
        seed=order.seed * 1_000_003 + order.process,
        deadline_s=STARTED_S + order.limit_s,
        watch=watch,
        on_turn=turns.begin,
    )
    copies = any(session.includes_transfers for session in sessions.values())
    parts = {}
    for name, session in sessions.items():
        turns.begin(name)
        parts[name] = _parts(session, batch)
    save_block(ProcessRounds(order.build, order.process, rounds, watch.signals, copies, parts), Path(result))


def _parts(session: Session, batch: Array) -> dict[str, float]:
    """Medians, taken after the rounds that are judged."""
    return {part: float(np.median(times)) for part, times in session.time_parts(batch, PARTS_RUNS).items()}


def _gpu_signals() -> tuple[Signal, ...]:
    """Signals of the GPU that CUDA uses, where NVML is available."""
    try:
        gpu = NvmlGpu()
        return gpu_signals(gpu.nvml, gpu.handle)
    except Exception:  # no NVML, no driver, or one that lacks a question: nothing to watch
        return ()
