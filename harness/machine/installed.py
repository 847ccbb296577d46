"""Which versions of other packages are installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from functools import cache

ABSENT = "absent"


@cache
def library_version(name: str) -> str:
    """Installed version of a distribution, local part included, or `absent`."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


@cache
def module_version(module: str) -> str:
    """Distributions that a top-level module comes from, as `name==version`, or `absent`."""
    return " ".join(sorted(f"{name}=={library_version(name)}" for name in _distributions_of(module))) or ABSENT


def _distributions_of(module: str) -> set[str]:
    """Most distributions name their modules; reading the lists of files of all, for the others, takes half a second."""
    if (found := _by_top_level().get(module)) is not None:
        return found
    try:
        is_installed = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        is_installed = module in sys.modules
    return set(importlib.metadata.packages_distributions().get(module, ())) if is_installed else set()


@cache
def _by_top_level() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for distribution in importlib.metadata.distributions():
        modules = (distribution.read_text("top_level.txt") or "").split()
        for module in (*modules, (distribution.name or "").replace("-", "_")):
            found.setdefault(module, set()).add(distribution.name)
    return found
