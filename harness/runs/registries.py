"""Names in a scenario that stand for one of our files."""

from __future__ import annotations

from harness.data.sources import data_sources
from harness.scenario import Scenario, check_names
from harness.targets import targets
from harness.toolkits import DEFAULT, toolkits


def check_registries(scenario: Scenario) -> None:
    """Every name in the scenario that stands for one of our files exists; ScenarioError with its place if not."""
    from harness.data.augmentations import AUGMENTATIONS

    check_names(
        scenario,
        sources=data_sources(),
        targets=targets(),
        toolkits=[*toolkits(), DEFAULT],
        augmentations=AUGMENTATIONS,
    )
