"""How long to measure."""

from __future__ import annotations

import math
from dataclasses import dataclass

_LOOK_GROWTH = 1.5
LEAST_ROUNDS = 3
"""Rounds of a process, however short the budget: a trimmed mean needs them."""


@dataclass(frozen=True)
class TimingPlan:
    """Sizes of what is repeated: inferences in a round, rounds in a process, processes."""

    warmup_s: float
    """Per session and process, before the first round."""
    round_s: float
    """Timing per session and round; at least one inference."""
    rounds_per_process: int
    """Fewer where the budget would not last for `min_processes`."""
    min_processes: int
    max_processes: int
    budget_s: float
    """From the start of the first process to the end of the last."""

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of processes after which the verdicts are looked at.

        Their number is fixed before anything is measured, so that stopping at a clear verdict can be paid for.
        """
        looks = [self.min_processes]
        while looks[-1] < self.max_processes:
            looks.append(min(self.max_processes, math.ceil(looks[-1] * _LOOK_GROWTH)))
        return tuple(looks)

    @property
    def process_s(self) -> float:
        """Longest that one process may take for `min_processes` to fit into the budget."""
        return self.budget_s / self.min_processes
