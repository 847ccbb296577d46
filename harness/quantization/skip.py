"""Which modules a skip set leaves unquantized."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from torch.fx import GraphModule, Node

from harness.errors import UsageError, unknown_name

_GLOB = set("*?[")


def module_path(node: Node) -> str:
    """Dotted name of the innermost module that called this node, `` for the network itself."""
    stack: dict[str, tuple[Any, ...]] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def matches(pattern: str, path: str) -> bool:
    """Whether `pattern` names the module at `path` or one of its containers.

    A name matches whole components (`layer1.1` is not `layer1.10`); a glob such as `layer*.conv1` matches a whole
    dotted name. Skipping a container skips its subtree.
    """
    parts = path.split(".") if path else []
    prefixes = [".".join(parts[: i + 1]) for i in range(len(parts))]
    if _GLOB & set(pattern):
        return any(fnmatch.fnmatchcase(prefix, pattern) for prefix in prefixes)
    return pattern in prefixes


class SkipSet:
    """The modules that the patterns name; every pattern must name at least one.

    Raises UsageError, with the nearest name, for a pattern that matches nothing.
    """

    def __init__(self, patterns: Sequence[str], graph_module: GraphModule) -> None:
        self.patterns = tuple(patterns)
        paths = {path for node in graph_module.graph.nodes if (path := module_path(node))}
        for pattern in self.patterns:
            if not any(matches(pattern, path) for path in paths):
                message, fix = unknown_name("module in the skip set", pattern, _with_containers(paths))
                raise UsageError(message, fix=fix)

    def __contains__(self, node: Node) -> bool:
        path = module_path(node)
        return any(matches(pattern, path) for pattern in self.patterns)


def _with_containers(paths: Iterable[str]) -> set[str]:
    return {".".join(path.split(".")[: i + 1]) for path in paths for i in range(path.count(".") + 1)}
