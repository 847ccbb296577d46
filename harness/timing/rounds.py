"""Sessions that take turns, so that what slows the machine hits all of them alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.timing.contamination import ContaminationMonitor
from harness.timing.samples import Round
from harness.timing.settings import LEAST_ROUNDS, TimingPlan

if TYPE_CHECKING:
    import numpy.typing as npt

    from harness.targets.base import Session


def time_rounds(
    sessions: Mapping[str, Session],
    batch: npt.NDArray[np.float32],
    plan: TimingPlan,
    *,
    seed: int,
    deadline_s: float = float("inf"),
    watch: ContaminationMonitor | None = None,
    on_turn: Callable[[str], None] | None = None,
) -> tuple[Round, ...]:
    """Warm all sessions up, then time them in rounds, each in a new random order.

    Args:
        sessions: open, by name.
        batch: input of every inference.
        plan: how long.
        seed: of the order.
        deadline_s: on the clock of `time.perf_counter`; no round begins after it once there are `LEAST_ROUNDS`.
        watch: what looks at the machine meanwhile.
        on_turn: called with the name of each session before it runs; outside what is timed.
    """
    begin = on_turn or _say_nothing
    runs = {}
    for name, session in sessions.items():
        begin(name)
        runs[name] = _warm_up(session, batch, plan)
    watch = watch or ContaminationMonitor()
    order = list(sessions)
    shuffle = random.Random(seed).shuffle
    rounds: list[Round] = []
    for number in range(plan.rounds_per_process):
        if number >= LEAST_ROUNDS and time.perf_counter() > deadline_s:
            break
        shuffle(order)
        watch.start()
        samples = {}
        for name in order:
            begin(name)
            samples[name] = np.asarray(sessions[name].time_runs(batch, runs[name]), np.float64)
        rounds.append(Round(samples, watch.stop()))
    return tuple(rounds)


def _say_nothing(name: str) -> None:
    """Turns are not asked for."""


def _warm_up(session: Session, batch: npt.NDArray[np.float32], plan: TimingPlan) -> int:
    """Run for the warm-up time; returns how many inferences fill one turn."""
    durations_ms: list[float] = []
    deadline = time.perf_counter() + plan.warmup_s
    while not durations_ms or time.perf_counter() < deadline:
        durations_ms += session.time_runs(batch, 1)
    typical_ms = float(np.median(durations_ms))
    return max(1, round(plan.round_s * 1e3 / max(typical_ms, 1e-6)))
