"""How long to measure."""

from __future__ import annotations

import math
from typing import Annotated, Self

from annotated_types import Ge
from pydantic import model_validator

from harness.fields import NonNegative, Positive, Section, Unit, contradiction

_LOOK_GROWTH = 1.5
LEAST_ROUNDS = 3
"""Rounds of a process, however short the budget: a trimmed mean needs them."""


class TimingPlan(Section):
    """How long to measure latency: inferences in a round, rounds in a process, processes."""

    warmup_s: Annotated[NonNegative, Unit("s")] = 0.05
    """Untimed inferences at the start of each process, per variant."""
    round_s: Annotated[Positive, Unit("s")] = 0.01
    """Timing of one variant in one round; at least one inference."""
    rounds_per_process: Annotated[int, Ge(LEAST_ROUNDS), Unit("round")] = 20
    """Fewer where the budget would not last for `min_processes`."""
    min_processes: Annotated[int, Ge(2), Unit("process")] = 4
    """Processes that are measured even when the verdict is clear sooner; each opens every engine anew."""
    max_processes: Annotated[int, Ge(2), Unit("process")] = 16
    """Processes after which measuring stops, clear or not; at least `min_processes`."""
    budget_s: Annotated[Positive, Unit("s")] = 20.0
    """For the variants of one model, target and batch size, process starts included. Targets that are timed together
    put theirs together."""

    @model_validator(mode="after")
    def _most_is_not_less_than_least(self) -> Self:
        least, most = self.min_processes, self.max_processes
        if most < least:
            fix = "raise `max_processes` or lower `min_processes`"
            message = f"`max_processes` {most} is less than `min_processes` {least}"
            raise contradiction(message, fix, key="max_processes")
        return self

    def for_targets(self, n: int) -> TimingPlan:
        """The plan for this many targets that are timed together."""
        own = {name: getattr(self, name) for name in TimingPlan.model_fields}
        return TimingPlan.model_validate(own | {"budget_s": self.budget_s * n})

    @property
    def analyses(self) -> tuple[int, ...]:
        """Numbers of processes after which the verdicts are looked at.

        Their number is fixed before anything is measured, so that stopping at a clear verdict can be paid for.
        """
        analyses = [self.min_processes]
        while analyses[-1] < self.max_processes:
            analyses.append(min(self.max_processes, math.ceil(analyses[-1] * _LOOK_GROWTH)))
        return tuple(analyses)

    @property
    def process_s(self) -> float:
        """Longest that one process may take for `min_processes` to fit into the budget."""
        return self.budget_s / self.min_processes
