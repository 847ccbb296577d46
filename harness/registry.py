"""Registries: what is found by being a file in a package, and what scenarios add to it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

_CONTRACT = "base"
"""The module of each registry that defines what the others must be."""


def members(package: str, path: Iterable[str], attribute: str) -> dict[str, Any]:
    """What the modules of a package define as `attribute`, by its `name`; modules without it are not members.

    A member is an instance; a class that is given is instantiated. `path` is the package's `__path__`.
    """
    modules = (importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(path))
    found = [instance_of(getattr(module, attribute)) for module in modules if hasattr(module, attribute)]
    return {member.name: member for member in found}


def instance_of(member: Any) -> Any:
    """A member itself, or an instance of its class."""
    return member() if isinstance(member, type) else member


def file_names(package: str) -> tuple[str, ...]:
    """Names of the files of a registry whose members are named after their files, in order; imports none of them."""
    # Finding a package imports its parents, not itself.
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    return tuple(sorted(info.name for info in pkgutil.iter_modules(folders) if info.name != _CONTRACT))


Plugged = Mapping[tuple[str, str], Any]
"""Loaded plug-ins by their kind and their name in the scenario."""
_plugged: dict[tuple[str, str], Any] = {}


def plug(kind: str, name: str, member: object) -> None:
    """Register a loaded plug-in under `name` in this process, until another one replaces it."""
    _plugged[kind, name] = member


def plugged(kind: str, name: str) -> Any | None:
    """The plug-in of this kind that is registered under `name` in this process, or None."""
    return _plugged.get((kind, name))


@contextmanager
def plugged_in(loaded: Plugged) -> Iterator[None]:
    """Register loaded plug-ins under their names inside the block."""
    before = dict(_plugged)
    _plugged.update(loaded)
    try:
        yield
    finally:
        _plugged.clear()
        _plugged.update(before)
