"""Calibrators, found by being files in this folder."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import fields
from typing import Any

from harness.errors import UsageError, unknown_name
from harness.quantization.calibrators.base import Calibrator


@functools.cache
def calibrators() -> dict[str, type[Calibrator]]:
    """Every calibrator class by its name."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = (module.CALIBRATOR for module in modules if hasattr(module, "CALIBRATOR"))
    return {calibrator.name: calibrator for calibrator in found}


def make_calibrator(name: str, **parameters: Any) -> Calibrator:
    """The calibrator of this name; parameters that it does not have are dropped.

    Raises UsageError for an unknown name.
    """
    known = calibrators()
    if name not in known:
        message, fix = unknown_name("calibrator", name, known)
        raise UsageError(message, fix=fix)
    accepted = {field.name for field in fields(known[name])}
    return known[name](**{key: value for key, value in parameters.items() if key in accepted and value is not None})
