"""Load scenarios, found by being files in this folder."""

from __future__ import annotations

import functools

from harness.load.base import LoadScenario
from harness.registry import members


@functools.cache
def load_scenarios() -> dict[str, LoadScenario]:
    """Every load scenario by its name."""
    return members(__name__, __path__, "LOAD_SCENARIO")
