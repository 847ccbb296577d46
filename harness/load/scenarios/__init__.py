"""Load scenarios, found by being files in this folder."""

from __future__ import annotations

import functools

from harness.errors import UsageError, unknown_name
from harness.load.base import LoadScenario
from harness.registry import members, plugged


@functools.cache
def load_scenarios() -> dict[str, LoadScenario]:
    """Every load scenario by its name."""
    return members(__name__, __path__, "LOAD_SCENARIO")


def get_load_scenario(name: str) -> LoadScenario:
    """The load scenario of this name, a plug-in included; UsageError with the nearest name when there is none."""
    if (plugin := plugged("load scenario", name)) is not None:
        return plugin  # type: ignore[no-any-return]
    known = load_scenarios()
    if name not in known:
        message, fix = unknown_name("load scenario", name, known)
        raise UsageError(message, fix=fix)
    return known[name]
