"""The modules of a network as rules see them: dotted names, and the classes each is an instance of."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.skip_connections import MarkedEdge
from harness.quantization.settings import REGEX

MODULE_CLASSES = "module_classes"
"""Key of a captured graph's `meta`."""
_GLOB = set("*?[")
_CALL_NUMBER = re.compile(r"@\d+$")
_PRIVATE = {"Module", "object"}

Classes = tuple[str, ...]
"""Qualified names of a class and its bases, the class itself first."""


def module_classes(model: torch.nn.Module) -> dict[str, Classes]:
    """Classes of every module by its dotted name; the network itself is ``."""
    return {
        path: tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(module).__mro__)
        for path, module in model.named_modules()
    }


def module_path(node: Node | MarkedEdge) -> str:
    """Dotted name of the innermost module that called this node, `` for the network itself."""
    stack: dict[str, tuple[Any, ...]] = node.meta.get("nn_module_stack") or {}
    # torch.export numbers further calls of one module: `block@1`.
    return _CALL_NUMBER.sub("", str(list(stack.values())[-1][0])) if stack else ""


def with_containers(path: str) -> tuple[str, ...]:
    """`path` and every container of it, outermost first."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[: i + 1]) for i in range(len(parts)))


def matches_name(pattern: str, path: str) -> bool:
    """Whether `pattern` names the module at `path` or one of its containers.

    A name matches whole components (`layer1.1` is not `layer1.10`); a glob such as `layer*.conv1` or a regular
    expression after `re:` matches a whole dotted name.
    """
    return any(fits_name(pattern, name) for name in with_containers(path))


def fits_name(pattern: str, name: str) -> bool:
    """Whether `pattern` names exactly this module, whatever contains it."""
    if pattern.startswith(REGEX):
        return re.fullmatch(pattern.removeprefix(REGEX), name) is not None
    return fnmatch.fnmatchcase(name, pattern) if _GLOB & set(pattern) else name == pattern


@dataclass(frozen=True)
class Modules:
    """Names and classes of all modules of one network."""

    classes: Mapping[str, Classes]

    @classmethod
    def of(cls, network: torch.nn.Module) -> Modules:
        """Those of an eager network, or of the network that a graph was captured from."""
        if isinstance(network, GraphModule) and MODULE_CLASSES in network.meta:
            return cls(network.meta[MODULE_CLASSES])
        return cls(module_classes(network))

    def is_instance(self, path: str, types: Iterable[str], *, subclasses: bool) -> bool:
        """Whether the module at `path` or one of its containers, the network included, is of one of these types."""
        chain = ("", *with_containers(path))
        return any(_is_a(self.classes.get(name, ()), kind, subclasses) for name in chain for kind in types)

    @property
    def names(self) -> list[str]:
        """Dotted names of all modules below the network itself."""
        return [path for path in self.classes if path]

    @property
    def type_names(self) -> list[str]:
        """Class names of all modules, without their bases."""
        return sorted({classes[0].rpartition(".")[2] for classes in self.classes.values() if classes} - _PRIVATE)


def _is_a(classes: Sequence[str], kind: str, subclasses: bool) -> bool:
    candidates = classes if subclasses else classes[:1]
    # Public names such as `torch.nn.Conv2d` are imports of where a class is defined.
    return any(kind in (name, name.rpartition(".")[2]) or _public(name) == kind for name in candidates)


def _public(name: str) -> str:
    return re.sub(r"^torch\.nn\.modules\.\w+\.", "torch.nn.", name)
