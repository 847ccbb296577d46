"""Times of layers: which engines are profiled, and how their times come to the layers of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.engine.outcomes import Done, Outcome
from harness.results import Layer
from harness.runs.passes import Outcomes, Tasks
from harness.stages.artifacts import LayerTimesResult

if TYPE_CHECKING:
    from harness.runs.preparation import Prepared


def layer_times_tasks(prepared: Prepared, outcomes: Outcomes | None, _measurement_id: str) -> Tasks:
    """One task for all engines that run here; none when the scenario asks for no latency."""
    if not prepared.resolved.measurement.latency:
        return {}
    plans = [plan for plan in prepared.plans if plan.engine_runs(outcomes, "outputs", "memory")]
    return {prepared.planner.layer_times(plans): tuple(plan.variant.id for plan in plans)} if plans else {}


def with_times(layers: Sequence[Layer], outcome: Outcome | None, variant_id: str) -> tuple[Layer, ...]:
    """The layers with what they take; a kernel that executes several gives its time to the first of them."""
    found = outcome.artifact.result(LayerTimesResult).engines.get(variant_id) if isinstance(outcome, Done) else None
    if found is None:
        return tuple(layers)
    left = dict(found.ms)
    return tuple(
        layer.model_copy(update={"time_ms": left.pop(layer.executed_as, None)}) if layer.executed_as else layer
        for layer in layers
    )
