"""The user's own metrics, computed from the evidence of each row in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.engine.context import StageContext
from harness.engine.outcomes import Answer, Failed
from harness.engine.process_tree import ends_in_copies
from harness.metrics.base import Evidence, Metric
from harness.plugins.code import PluginCode, loaded
from harness.results import MetricValue
from harness.runs.plugins import Plugins
from harness.runs.prober import ProbeFailed, Prober
from harness.training.model_files import described

CRASH_FIX = "`compute` must answer, without ending or blocking the process"


@dataclass(frozen=True)
class OwnMetrics:
    """What the own metrics say of one row."""

    values: Mapping[str, MetricValue] = field(default_factory=dict)
    """By the metric's own name."""
    faults: tuple[str, ...] = ()
    """Why there is none, or why the row cannot be believed."""


@dataclass(frozen=True)
class MetricJob:
    """One metric of one row."""

    key: str
    label: str
    code: PluginCode
    evidence: Evidence
    timeout_s: float | None
    threads: int = 1

    def run(self, context: StageContext) -> Answer | Failed:
        """Load the metric and compute it; answers with the value, None, or the reason as text."""
        with ends_in_copies():
            context.note(f"computing `{self.code.name}`")
            metric: Metric = loaded("metric", self.code.name, self.code.root, self.code.sha256)
            if metric.tasks is not None and self.evidence.task not in metric.tasks:
                return Answer((None, None))
            try:
                return Answer(_computed(metric, self.evidence))
            except BaseException as error:  # of the user's code; another process would end as this one
                return Answer((None, f"it failed: {described(error)}"))


def _computed(metric: Metric, evidence: Evidence) -> tuple[MetricValue | None, str | None]:
    value = metric.compute(evidence)
    if value is None:
        return None, None
    if not isinstance(value, MetricValue):
        return None, f"it returned {type(value).__name__} instead of `harness.results.MetricValue` or None"
    return MetricValue.model_validate(value.model_dump()), metric.fault(value)


def compute_own(plugins: Plugins, evidence: Sequence[Evidence], timeout_s: float) -> list[OwnMetrics]:
    """What the scenario's own metrics say of each row, in the order of the rows.

    A metric that fails costs the row; whatever it does to its process costs that process.
    """
    metrics = plugins.of_kind("metric")
    if not metrics:
        return [OwnMetrics() for _ in evidence]
    with Prober.opened(timeout_s) as prober:
        return [_of_row([(each.own_name, each.code) for each in metrics], item, prober, timeout_s) for item in evidence]


def _of_row(
    metrics: Sequence[tuple[str, PluginCode]], evidence: Evidence, prober: Prober, timeout_s: float
) -> OwnMetrics:
    values: dict[str, MetricValue] = {}
    faults: list[str] = []
    for name, code in metrics:

        def job(number: int, code: PluginCode = code) -> MetricJob:
            return MetricJob(f"metric {number}", code.name, code, evidence, timeout_s)

        found = prober.ask(job, is_good=lambda answer: isinstance(answer, tuple))
        if isinstance(found, ProbeFailed):
            faults.append(f"metric `{name}`: {found.message}; fix: {found.fix or CRASH_FIX}")
            continue
        value, fault = found
        if value is not None:
            values[name] = value
        if fault is not None:
            faults.append(f"metric `{name}`: {fault}")
    return OwnMetrics(values, tuple(faults))
