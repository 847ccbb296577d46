"""Calibrators, found by being files in this folder."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import Any

from harness.errors import UsageError, unknown_name
from harness.quantization.calibrators.base import Calibrator
from harness.registry import members, plugged


@functools.cache
def calibrators() -> dict[str, Calibrator]:
    """Every calibrator with its default parameters, by its name."""
    return members(__name__, __path__, "CALIBRATOR")


def make_calibrator(name: str, **parameters: Any) -> Calibrator:
    """The calibrator of this name; parameters that it does not have are dropped.

    Raises UsageError for an unknown name.
    """
    calibrator = _calibrator(name)
    accepted = {field.name for field in fields(calibrator)}
    given = {key: value for key, value in parameters.items() if key in accepted and value is not None}
    return replace(calibrator, **given) if given else calibrator


def _calibrator(name: str) -> Calibrator:
    if (plugin := plugged("calibrator", name)) is not None:
        return plugin  # type: ignore[no-any-return]
    known = calibrators()
    if name not in known:
        message, fix = unknown_name("calibrator", name, known)
        raise UsageError(message, fix=fix)
    return known[name]
