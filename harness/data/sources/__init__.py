"""Data sources, found by being files in this folder."""

from __future__ import annotations

import functools

from harness.data.base import DataSource
from harness.errors import DataError, unknown_name
from harness.registry import members, plugged


@functools.cache
def data_sources() -> dict[str, DataSource]:
    """Every data source by its name."""
    return members(__name__, __path__, "SOURCE")


def data_source(name: str) -> DataSource:
    """The source of this name; DataError names the nearest when there is none."""
    if (plugin := plugged("data source", name)) is not None:
        return plugin  # type: ignore[no-any-return]
    known = data_sources()
    if name not in known:
        message, fix = unknown_name("data source", name, known)
        raise DataError(message, fix=fix)
    return known[name]
