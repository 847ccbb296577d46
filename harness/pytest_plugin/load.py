"""Scenario files as pytest names and marks them."""

from __future__ import annotations

from os.path import relpath
from pathlib import Path

import pytest

from harness.plugin_names import short_name
from harness.pytest_plugin.cell import LoadedScenario, VariantCase
from harness.runs.registries import check_registries
from harness.scenario import expand, load_scenario

_PYTESTS_OWN = frozenset(
    ("skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings", "benchmark", "xdist_group")
)
"""Marks with a meaning: a model of that name must not get them."""


def load(path: Path, config: pytest.Config) -> LoadedScenario:
    """Read and check one file; paths in messages are as short as pytest's."""
    shown = Path(relpath(path, config.invocation_params.dir))
    scenario = load_scenario(shown if shown.exists() else path)
    plugins = check_registries(scenario)
    with plugins.active():
        scenario = plugins.with_settings(scenario)
    line = scenario.error(("matrix",), "", on_key=True).line or 1
    return LoadedScenario(path, scenario, expand(scenario), line - 1)


def marks(cell: VariantCase, config: pytest.Config) -> list[pytest.MarkDecorator]:
    """Marks of a test: method, target and model, for `-m`; and the group for `xdist --dist loadgroup`."""
    names = dict.fromkeys((cell.variant.method, short_name(cell.variant.target), cell.variant.model))
    found = [_mark(name, config) for name in names if name not in _PYTESTS_OWN and not name.startswith("_")]
    if config.pluginmanager.hasplugin("xdist"):
        # One worker runs the scenario; the others need not wait for it.
        found.append(pytest.mark.xdist_group(cell.scenario.scenario.name))
    return found


def _mark(name: str, config: pytest.Config) -> pytest.MarkDecorator:
    known = {line.partition(":")[0].partition("(")[0].strip() for line in config.getini("markers")}
    if name not in known:
        config.addinivalue_line("markers", f"{name}: variants of a scenario with this model or target (quant-harness)")
    mark: pytest.MarkDecorator = getattr(pytest.mark, name)
    return mark
