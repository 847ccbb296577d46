"""Data sources, found by being files in this folder."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from harness.data.base import DataSource
from harness.errors import DataError, unknown_name


@functools.cache
def data_sources() -> dict[str, DataSource]:
    """Every data source by its name."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = (module.SOURCE for module in modules if hasattr(module, "SOURCE"))
    return {source.name: source for source in found}


def data_source(name: str) -> DataSource:
    """The source of this name; DataError names the nearest when there is none."""
    known = data_sources()
    if name not in known:
        message, fix = unknown_name("data source", name, known)
        raise DataError(message, fix=fix)
    return known[name]
