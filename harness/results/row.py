"""One variant with everything that was found out about it."""

from __future__ import annotations

from pydantic import Field

from harness.results.accuracy import Accuracy, MetricValue
from harness.results.base import Record, Status
from harness.results.engine import Coverage, Deployment
from harness.results.load import Load
from harness.results.parity import Parity, StepCheck
from harness.results.performance import Cost, Energy, Latency, Memory, Size
from harness.results.variant import Variant


class Row(Record):
    """One variant with everything that was found out about it."""

    variant: Variant
    status: Status
    reason: str | None = None
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    size: Size | None = None
    coverage: Coverage | None = None
    parity: Parity | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    load: Load | None = None
    cost: Cost | None = None
    checks: tuple[StepCheck, ...] = ()
    """Steps from the network to the engine that were checked in numbers, in order; none in files of older versions."""
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    """Further figures by the name of their metric."""
    deployment: Deployment | None = None
    """None without an engine, and in files of older versions."""
    files: dict[str, str] = Field(default_factory=dict)
    """Paths relative to the run folder: `onnx`, `engine`, `audit`, `log`, `load`, `predictions`, `top_classes`,
    `latency_samples`, `example_outputs`."""
