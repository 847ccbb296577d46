"""How long code of the project may run without a sign of progress."""

from __future__ import annotations

import math
import os

from harness.errors import UsageError
from harness.scenario import Scenario

TIMEOUT_VARIABLE = "HARNESS_TIMEOUT_S"


def network_timeout_s(scenario: Scenario) -> float:
    """For each step of building and trying a network."""
    return _from_environment() or scenario.timeouts.network_s


def stage_timeout_s(scenario: Scenario) -> float:
    """For a stage, between two signs of progress."""
    return _from_environment() or scenario.timeouts.stage_s


def _from_environment() -> float | None:
    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{TIMEOUT_VARIABLE}={text} is no time", fix="give seconds, such as 300")
    return seconds
