"""`expected_top1`: the eager network's accuracy, checked before anything is quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.data.samples import Splits
from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done, Outcome
from harness.runs.parity import Chain
from harness.runs.plan import Planner, VariantPlan
from harness.runs.resolve import NetworkInfo
from harness.scenario import Scenario
from harness.stages.artifacts import LABELS, OUTPUTS
from harness.stats.ranking import label_ranks
from harness.words.phrases import percent


def check_expected(scenario: Scenario, splits: Splits) -> None:
    """ScenarioError where a model has an expected top-1 and the data cannot tell it."""
    for name, model in scenario.models.items():
        if model.expected_top1 is not None and (splits.task != "classification" or not splits.has_labels):
            what = "has no labels" if not splits.has_labels else f"is for {splits.task}"
            raise scenario.error(
                ("models", name, "expected_top1"),
                f"data source `{splits.name}` {what}: there is no top-1 to compare with",
                fix="use labelled data for classification, or remove `expected_top1`",
                on_key=True,
            )


def expect_accuracy(
    networks: Mapping[str, NetworkInfo], plans: Sequence[VariantPlan], planner: Planner, executor: LocalExecutor
) -> tuple[VariantPlan, ...]:
    """The plans, those of a network with another accuracy than expected broken.

    Trains what the scenario trains, and evaluates the eager network; both are in the store afterwards.
    """
    tasks: dict[str, Task] = {}
    for plan in plans:
        if _can_run(plan) and networks[plan.variant.model].expected_top1 is not None:
            tasks.setdefault(plan.variant.model, planner.eager(plan.variant))
    if not tasks:
        return tuple(plans)
    outcomes = executor.run(list(tasks.values()))
    reasons = {name: _refusal(networks[name], outcomes[task.key]) for name, task in tasks.items()}
    return tuple(_with_reason(plan, reasons.get(plan.variant.model)) for plan in plans)


def _can_run(plan: VariantPlan) -> bool:
    return plan.unavailable is None and plan.broken is None


def _with_reason(plan: VariantPlan, reason: str | None) -> VariantPlan:
    if reason is None or not _can_run(plan):
        return plan
    return replace(plan, tasks={}, build=None, chain=Chain(), broken=reason)


def _refusal(network: NetworkInfo, outcome: Outcome) -> str | None:
    """None where the accuracy is as expected, and where the evaluation failed: its rows then say why."""
    if not isinstance(outcome, Done):
        return None
    outputs, labels = (np.load(outcome.artifact.file(file), allow_pickle=False) for file in (OUTPUTS, LABELS))
    top1 = float((label_ranks(outputs, labels) == 0).mean())
    expected, tolerance = network.expected_top1, network.expected_top1_tolerance
    if expected is None or abs(top1 - expected) <= tolerance:
        return None
    return (
        f"top-1 of the eager FP32 network is {percent(top1)} of {len(labels):,} test samples, but `expected_top1` is "
        f"{percent(expected)} (tolerance {100 * tolerance:g} points): check the preprocessing in `dataset.args` "
        "(resize, crop, interpolation, mean, std, channel order), the order of the classes and the weights"
    )
