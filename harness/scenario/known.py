"""Names that scenarios may use because a file stands for them, listed without importing those files."""

from __future__ import annotations

import pkgutil
from importlib.util import find_spec

_CALIBRATORS = "harness.quantization.calibrators"
_CONTRACT = "base"
"""The module of each registry that defines what the others must be."""


def calibrator_names() -> tuple[str, ...]:
    """Every calibrator, in alphabetical order: its name is that of its file."""
    spec = find_spec(_CALIBRATORS)
    folders = spec.submodule_search_locations if spec is not None else None
    return tuple(sorted(info.name for info in pkgutil.iter_modules(folders) if info.name != _CONTRACT))
