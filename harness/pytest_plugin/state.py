"""What the plugin remembers during one session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from harness.pytest_plugin.cell import LoadedScenario, VariantCase
from harness.pytest_plugin.options import Settings, read_settings

CELL_FIXTURE = "harness_cell"
_RUN_FIXTURE = "harness_run"
STATE: pytest.StashKey[PluginState] = pytest.StashKey()


@dataclass
class PluginState:
    """Scenarios are read once, and only what was chosen is run."""

    config: pytest.Config
    chosen: dict[Path, frozenset[str]] = field(default_factory=dict)
    """Variant ids by scenario file, from the tests that are left after deselection."""
    folders: dict[Path, None] = field(default_factory=dict)
    """Folders of finished runs, in order."""
    _loaded: dict[Path, LoadedScenario] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        """Read when the first scenario is met."""
        return read_settings(self.config)

    def load(self, path: Path) -> LoadedScenario:
        """Read and check a scenario file, once; ScenarioError names every problem in it."""
        if path not in self._loaded:
            from harness.pytest_plugin.load import load

            self._loaded[path] = load(path, self.config)
        return self._loaded[path]

    def choose(self, items: Iterable[pytest.Item]) -> None:
        """Take the tests that will run."""
        chosen: dict[Path, set[str]] = {}
        for item in items:
            cell = cell_of(item)
            if cell is not None and _RUN_FIXTURE in getattr(item, "fixturenames", ()):
                chosen.setdefault(cell.scenario.path, set()).add(cell.variant.id)
        self.chosen = {path: frozenset(ids) for path, ids in chosen.items()}


def cell_of(item: pytest.Item) -> VariantCase | None:
    """The scenario and variant that a test is about, None for all other tests."""
    own: VariantCase | None = getattr(item, "cell", None)
    if own is not None:
        return own
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get(CELL_FIXTURE)
