"""Names in a scenario that refer to a built-in member or to a plug-in."""

from __future__ import annotations

from collections.abc import Iterable

from harness.data.sources import data_sources
from harness.load.scenarios import load_scenarios
from harness.plugin_names import Kind, entry_points
from harness.runs.plugins import Plugins, describe_plugins
from harness.scenario import Scenario, check_names
from harness.scenario.checks import unknown_metric_errors
from harness.scenario.source import joined
from harness.targets import targets
from harness.toolkits import DEFAULT, toolkits


def check_registries(scenario: Scenario, *, download: bool = False) -> Plugins:
    """Check that every name in the scenario refers to a usable built-in member or plug-in; return the plug-ins.

    ScenarioError with its place if not. Files of plug-ins are tried in a process of their own.
    """
    from harness.data.augmentations import AUGMENTATIONS

    check_names(
        scenario,
        sources=_known("data source", data_sources()),
        targets=_known("target", targets()),
        toolkits=_known("toolkit", [*toolkits(), DEFAULT]),
        augmentations=AUGMENTATIONS,
        metrics=_known("metric", ()),
        load_scenarios=_known("load scenario", load_scenarios()),
        loops=_known("training loop", ()),
    )
    plugins = describe_plugins(scenario, download=download)
    errors = list(unknown_metric_errors(scenario, [facts.own_name for facts in plugins.of_kind("metric")]))
    if errors:
        raise joined(errors)
    return plugins


def _known(kind: Kind, built_in: Iterable[str]) -> tuple[str, ...]:
    return (*built_in, *entry_points(kind))
