"""Registries: what is found by being a file in a package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

_CONTRACT = "base"
"""The module of each registry that defines what the others must be."""


def members(package: str, path: Iterable[str], attribute: str) -> dict[str, Any]:
    """What the modules of a package define as `attribute`, by its `name`; modules without it are not members.

    `path` is the package's `__path__`.
    """
    modules = (importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(path))
    found = (getattr(module, attribute) for module in modules if hasattr(module, attribute))
    return {member.name: member for member in found}


def file_names(package: str) -> tuple[str, ...]:
    """Names of the files of a registry whose members are named after their files, in order; imports none of them."""
    # Finding a package imports its parents, not itself.
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    return tuple(sorted(info.name for info in pkgutil.iter_modules(folders) if info.name != _CONTRACT))
