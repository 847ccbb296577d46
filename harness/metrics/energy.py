"""`energy`: joules per inference, with idle power and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from harness.metrics.base import Evidence, Metric
from harness.results import Energy


class EnergyReading(NamedTuple):
    """What the energy counter measured over one interval."""

    joules: float
    seconds: float
    inferences: int


def energy_per_inference(idle: EnergyReading, blocks: Sequence[EnergyReading], source: str) -> Energy:
    """Energy per inference over all blocks; net of what idle power would have taken in the same time."""
    joules, seconds = sum(block.joules for block in blocks), sum(block.seconds for block in blocks)
    inferences = sum(block.inferences for block in blocks)
    idle_w = idle.joules / idle.seconds
    each = [block.joules / block.inferences for block in blocks]
    mean = joules / inferences
    return Energy(
        joules_per_inference=mean,
        net_joules_per_inference=(joules - idle_w * seconds) / inferences,
        spread=(max(each) - min(each)) / mean if mean else None,
        idle_w=idle_w,
        mean_w=joules / seconds,
        seconds=seconds,
        inferences=inferences,
        source=source,
    )


class EnergyMetric(Metric):
    """What the stage `energy` counted, or why it could not."""

    name: ClassVar[str] = "energy"
    section: ClassVar[str | None] = "energy"

    def compute(self, evidence: Evidence) -> Energy | None:
        """None when the scenario does not ask for it."""
        return evidence.energy


METRIC = EnergyMetric()
