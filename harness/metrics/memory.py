"""`memory`: peak memory of the engine in a process of its own, and on the GPU."""

from __future__ import annotations

from typing import ClassVar

from harness.metrics.base import Evidence, Metric
from harness.results import Memory


class MemoryMetric(Metric):
    """What the stage `memory` read."""

    name: ClassVar[str] = "memory"
    section: ClassVar[str | None] = "memory"

    def compute(self, evidence: Evidence) -> Memory | None:
        """None when it was not measured."""
        return evidence.memory


METRIC = MemoryMetric()
