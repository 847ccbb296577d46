"""Names of a user's tensors and modules that a graph has itself, such as `code`, `graph`, `meta` and `recompile`."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from functools import cache
from typing import Any

from torch import nn
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule


def rename_taken(exported: ExportedProgram) -> None:
    """Give every tensor of an exported network that lies under a taken name another path, in place.

    Only the paths of tensors change. The modules that nodes come from keep the user's names, and so do rules and
    messages.
    """
    signature = exported.graph_signature
    specs = [*signature.input_specs, *signature.output_specs]
    paths = {spec.target for spec in specs if spec.target} | exported.state_dict.keys() | exported.constants.keys()
    renamed = _new_paths(paths)
    if not renamed:
        return
    for spec in specs:
        spec.target = renamed.get(spec.target, spec.target) if spec.target else spec.target
    for tensors in (exported.state_dict, exported.constants):
        _rename_keys(tensors, renamed)


def _new_paths(paths: Iterable[str]) -> dict[str, str]:
    """New path of each path whose first part is taken. Modules below the network itself are plain ones."""
    firsts = {path.partition(".")[0] for path in paths}
    used = firsts | _taken()
    new: dict[str, str] = {}
    for first in sorted(firsts & _taken()):
        number = 1
        while f"{first}_{number}" in used:
            number += 1
        new[first] = f"{first}_{number}"
        used.add(new[first])
    split = {path: path.partition(".") for path in paths}
    return {path: new[first] + dot + rest for path, (first, dot, rest) in split.items() if first in new}


def _rename_keys(tensors: MutableMapping[str, Any], renamed: dict[str, str]) -> None:
    items = [(renamed.get(path, path), tensor) for path, tensor in tensors.items()]
    tensors.clear()
    tensors.update(items)


@cache
def _taken() -> frozenset[str]:
    """Attributes of every graph, beyond those of modules, whose names no module of a user can have either."""
    return frozenset(dir(GraphModule(nn.Module(), Graph()))) - frozenset(dir(nn.Module()))
