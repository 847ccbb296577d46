"""Names that scenarios may use because a file stands for them, listed without importing those files."""

from __future__ import annotations

import pkgutil
from importlib.util import find_spec

_CALIBRATORS = "harness.quantization.calibrators"
_PTQ_STEPS = "harness.quantization.ptq.steps"
_METRICS = "harness.metrics"
_CONTRACT = "base"
"""The module of each registry that defines what the others must be."""


def calibrator_names() -> tuple[str, ...]:
    """Every calibrator, in alphabetical order: its name is that of its file."""
    return _files(_CALIBRATORS)


def ptq_step_names() -> tuple[str, ...]:
    """Every PTQ step, likewise."""
    return _files(_PTQ_STEPS)


def metric_names() -> tuple[str, ...]:
    """Every metric, likewise."""
    return _files(_METRICS)


def _files(package: str) -> tuple[str, ...]:
    # Finding a package imports its parents, not itself.
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    return tuple(sorted(info.name for info in pkgutil.iter_modules(folders) if info.name != _CONTRACT))
