"""Nodes of an exported ONNX file by the modules they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def nodes_of_modules(path: Path, modules: Sequence[str]) -> list[str]:
    """Names of the nodes that come from `modules` (dotted names) or from modules inside them."""
    import onnx

    return names_of_modules([node.name for node in onnx.load(path, load_external_data=False).graph.node], modules)


def names_of_modules(names: Iterable[str], modules: Sequence[str]) -> list[str]:
    """The names of nodes that come from `modules` or from modules inside them.

    `harness.exporting.passes` names a layer's node after its module, and any other `MODULE/OP`; a module that is called
    more than once adds `#2`. OpenVINO keeps those names, and adds `/SUFFIX` too.
    """
    return [name for name in names if any(_is_inside(_module(name), module) for module in modules)]


def _module(node_name: str) -> str:
    return node_name.partition("#")[0].partition("/")[0]


def _is_inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
