"""Registries: what is found by being a file in a package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any


def members(package: str, path: Iterable[str], attribute: str) -> dict[str, Any]:
    """What the modules of a package define as `attribute`, by its `name`; modules without it are not members.

    `path` is the package's `__path__`.
    """
    modules = (importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(path))
    found = (getattr(module, attribute) for module in modules if hasattr(module, attribute))
    return {member.name: member for member in found}
