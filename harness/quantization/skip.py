"""Which modules a skip set leaves unquantized."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from torch.fx import GraphModule, Node

from harness.errors import UsageError, unknown_name
from harness.quantization.marked import Marker, all_markers

_GLOB = set("*?[")


def module_path(node: Node | Marker) -> str:
    """Dotted name of the innermost module that called this node, `` for the network itself."""
    stack: dict[str, tuple[Any, ...]] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def module_types(node: Node | Marker) -> set[str]:
    """Class names of the module that called this node and of its containers."""
    stack: dict[str, tuple[Any, ...]] = node.meta.get("nn_module_stack") or {}
    return {str(getattr(kind, "__name__", kind)).rpartition(".")[2] for _, kind in stack.values()}


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
    """The modules that the patterns name, by dotted name, glob or class name; every pattern must name at least one.

    Raises UsageError, with the nearest name, for a pattern that matches nothing.
    """

    def __init__(self, patterns: Sequence[str], graph_module: GraphModule) -> None:
        self.patterns = tuple(patterns)
        calls = [node for node in graph_module.graph.nodes if node.op == "call_function"]
        nodes: list[Node | Marker] = [*calls, *all_markers(graph_module)]
        for pattern in self.patterns:
            if not any(_skips(pattern, node) for node in nodes):
                known = _with_containers(filter(None, map(module_path, nodes)))
                known |= {name for node in nodes for name in module_types(node)}
                message, fix = unknown_name("module in the skip set", pattern, known)
                raise UsageError(message, fix=fix)

    def __contains__(self, node: Node | Marker) -> bool:
        return any(_skips(pattern, node) for pattern in self.patterns)


def _skips(pattern: str, node: Node | Marker) -> bool:
    return matches(pattern, module_path(node)) or pattern in module_types(node)


def _with_containers(paths: Iterable[str]) -> set[str]:
    return {".".join(path.split(".")[: i + 1]) for path in paths for i in range(path.count(".") + 1)}
