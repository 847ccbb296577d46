"""Timing several sessions side by side, so that drift of the machine hits all of them alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from harness.targets.base import Session

TWIN = "twin"
"""A second session of the reference engine: the ratio between the two is noise."""


@dataclass(frozen=True)
class TimingPlan:
    """How long to measure."""

    warmup_s: float
    """Per session, before the first round."""
    round_s: float
    """Timing per session and round."""
    min_rounds: int
    max_rounds: int
    budget_s: float
    """For all rounds together; a round that has begun is finished."""


@dataclass
class Timings:
    """Milliseconds of every inference, by session and round."""

    rounds: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=dict)

    @property
    def n_rounds(self) -> int:
        """Rounds that every session has finished."""
        return min((len(samples) for samples in self.rounds.values()), default=0)

    def samples(self, name: str) -> npt.NDArray[np.float64]:
        """All inferences of one session, in order."""
        return np.concatenate(self.rounds[name])

    def round_medians(self, name: str) -> npt.NDArray[np.float64]:
        """One figure per round: the median inference of the round."""
        return np.array([np.median(samples) for samples in self.rounds[name]])

    def to_frame(self) -> pd.DataFrame:
        """One line per inference: session, round, index in the round, milliseconds."""
        import pandas as pd

        parts = [
            pd.DataFrame({"session": name, "round": number, "index": np.arange(len(samples)), "ms": samples})
            for name, rounds in self.rounds.items()
            for number, samples in enumerate(rounds)
        ]
        return pd.concat(parts, ignore_index=True)

    @classmethod
    def from_parquet(cls, path: Path) -> Timings:
        """Read what `to_frame().to_parquet(path)` wrote."""
        import pandas as pd

        timings = cls()
        for (name, _), group in pd.read_parquet(path).groupby(["session", "round"], sort=True):
            timings.rounds.setdefault(str(name), []).append(group.sort_values("index")["ms"].to_numpy(np.float64))
        return timings


def measure(
    sessions: Mapping[str, Session],
    batch: npt.NDArray[np.float32],
    plan: TimingPlan,
    *,
    is_clear: Callable[[Timings], bool],
    seed: int = 0,
) -> Timings:
    """Time all sessions in rounds, each round in a new random order.

    Rounds are added until `is_clear` says that every verdict is, or until `max_rounds` or `budget_s` is reached.
    """
    runs = {name: _warm_up(session, batch, plan) for name, session in sessions.items()}
    order = list(sessions)
    shuffle = random.Random(seed).shuffle
    timings = Timings({name: [] for name in sessions})
    deadline = time.perf_counter() + plan.budget_s
    while timings.n_rounds < plan.max_rounds:
        shuffle(order)
        for name in order:
            timings.rounds[name].append(np.asarray(sessions[name].time_runs(batch, runs[name])))
        if timings.n_rounds >= plan.min_rounds and (time.perf_counter() >= deadline or is_clear(timings)):
            break
    return timings


def _warm_up(session: Session, batch: npt.NDArray[np.float32], plan: TimingPlan) -> int:
    """Run for the warm-up time; returns how many inferences fill one slot of a round."""
    durations_ms: list[float] = []
    deadline = time.perf_counter() + plan.warmup_s
    while not durations_ms or time.perf_counter() < deadline:
        durations_ms += session.time_runs(batch, 1)
    typical_ms = float(np.median(durations_ms))
    return max(1, round(plan.round_s * 1e3 / max(typical_ms, 1e-6)))
