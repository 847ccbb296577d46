"""Deployment targets, found by being modules in this folder."""

from __future__ import annotations

import functools

from harness.errors import UsageError, unknown_name
from harness.registry import members, plugged
from harness.targets.base import Target


@functools.cache
def targets() -> dict[str, Target]:
    """Every target by its name."""
    return members(__name__, __path__, "TARGET")


def get_target(name: str) -> Target:
    """The target of this name; UsageError with the nearest name when there is none."""
    if (plugin := plugged("target", name)) is not None:
        return plugin  # type: ignore[no-any-return]
    known = targets()
    if name not in known:
        message, fix = unknown_name("target", name, known)
        raise UsageError(message, fix=fix)
    return known[name]
