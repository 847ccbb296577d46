"""Metrics, found by being files in this folder."""

from __future__ import annotations

import functools

from harness.metrics.base import Metric
from harness.registry import members


@functools.cache
def metrics() -> dict[str, Metric]:
    """Every metric by its name."""
    return members(__name__, __path__, "METRIC")
