"""The tensors that a captured graph holds: one node for each, new ones under unused names, and new calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg


def attribute(root: nn.Module, path: str) -> torch.Tensor:
    """The tensor at a dotted path."""
    value: object = root
    for part in path.split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor)
    return value


def is_parameter(graph_module: GraphModule, path: str) -> bool:
    """Whether the tensor at `path` trains; a buffer or a constant does not."""
    return isinstance(attribute(graph_module, path), nn.Parameter)


def set_tensor(graph_module: GraphModule, path: str, tensor: torch.Tensor, *, trains: bool) -> None:
    """Let `path` name `tensor` (of any shape), whatever it named before; the old tensor is not written to."""
    owner, _, name = path.rpartition(".")
    module = graph_module.get_submodule(owner)
    if hasattr(module, name):
        delattr(module, name)
    tensor = tensor.detach().clone()
    if trains and tensor.is_floating_point():
        module.register_parameter(name, nn.Parameter(tensor))
    else:
        module.register_buffer(name, tensor)


def fresh_path(graph_module: GraphModule, path: str) -> str:
    """`path`, or `path` with a number behind it where something of the user's has that name."""
    owner, _, name = path.rpartition(".")
    module = graph_module.get_submodule(owner)
    candidate, number = name, 0
    while hasattr(module, candidate):
        number += 1
        candidate = f"{name}_{number}"
    return f"{owner}.{candidate}" if owner else candidate


def add_tensor(graph_module: GraphModule, path: str, tensor: torch.Tensor, before: Node, *, trains: bool) -> Node:
    """A node in front of `before` that reads a new tensor, named `path` or nearly so."""
    path = fresh_path(graph_module, path)
    set_tensor(graph_module, path, tensor, trains=trains)
    with graph_module.graph.inserting_before(before):
        node = graph_module.graph.get_attr(path)
    node.meta["val"] = _fake(graph_module, attribute(graph_module, path))
    return node


def call_before(origin: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
    """A new call of `target` in front of `origin`, of the same module, with its shape and type noted."""
    with origin.graph.inserting_before(origin):
        node = origin.graph.call_function(target, args, kwargs)
    values, named = map_arg((args, kwargs), lambda source: source.meta["val"])
    node.meta = {**origin.meta, "val": target(*values, **named)}
    return node


def _fake(graph_module: GraphModule, tensor: torch.Tensor) -> torch.Tensor:
    """What passes that read shapes expect in a node's `meta`."""
    for node in graph_module.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None:
            fake: torch.Tensor = mode.from_tensor(tensor.detach(), static_shapes=True)
            return fake
    return tensor.detach().to("meta")


def one_node_per_tensor(graph_module: GraphModule) -> None:
    """Read every tensor through one node, in front of all others, in place; tied ones under their first name."""
    first: dict[int, Node] = {}
    nodes = [node for node in graph_module.graph.nodes if node.op == "get_attr"]
    for node in nodes:
        value = _value(graph_module, str(node.target))
        if not isinstance(value, torch.Tensor):
            continue
        kept = first.setdefault(id(value), node)
        if kept is not node:
            node.replace_all_uses_with(kept)
            graph_module.graph.erase_node(node)


def own_storage(graph_module: GraphModule) -> None:
    """Copy tensors that share memory with another one, so that writing to one never changes another, in place."""
    seen: set[int] = set()
    for path in read_paths(graph_module):
        tensor = attribute(graph_module, path)
        storage = tensor.untyped_storage()
        if tensor.numel() and (storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes):
            set_tensor(graph_module, path, tensor, trains=isinstance(tensor, nn.Parameter))
        seen.add(storage.data_ptr())


def read_paths(graph_module: GraphModule) -> list[str]:
    """Paths of the tensors that the graph reads, each once."""
    paths = dict.fromkeys(str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr")
    return [path for path in paths if isinstance(_value(graph_module, path), torch.Tensor)]


def drop_unread_tensors(graph_module: GraphModule) -> None:
    """Remove tensors that nothing reads, in place: training and files hold only what the graph uses."""
    read = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    tensors = (
        *graph_module.named_parameters(remove_duplicate=False),
        *graph_module.named_buffers(remove_duplicate=False),
    )
    remove_tensors(graph_module, [path for path, _ in tensors if path not in read])


def remove_tensors(graph_module: GraphModule, paths: Iterable[str]) -> None:
    """Remove the tensors at these paths."""
    for path in paths:
        owner, _, name = path.rpartition(".")
        delattr(graph_module.get_submodule(owner), name)


def _value(root: nn.Module, path: str) -> object:
    value: object = root
    for part in path.split("."):
        value = getattr(value, part)
    return value
