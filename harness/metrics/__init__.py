"""Metrics, found by being files in this folder."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from harness.metrics.base import Metric


@functools.cache
def metrics() -> dict[str, Metric]:
    """Every metric by its name."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {module.METRIC.name: module.METRIC for module in modules if hasattr(module, "METRIC")}
