"""What is asked of the nodes of a captured graph while quantizers are placed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import Node

from harness.quantization.capture.operators import AVERAGE_POOLS, MAX_POOLS, VIEWS, is_relu

aten = torch.ops.aten


def is_float(node: Node) -> bool:
    """Whether the node's value is one floating-point tensor."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def float_inputs(node: Node) -> list[Node]:
    """Floating-point tensors among the positional arguments, also inside lists (concat)."""
    arguments = [item for arg in node.args for item in (arg if isinstance(arg, list | tuple) else [arg])]
    return [arg for arg in arguments if isinstance(arg, Node) and is_float(arg)]


def same_values(tensor: Node) -> Node:
    """The tensor that `tensor` carries some of the values of, in another shape; itself when it is no such view."""
    while tensor.target in VIEWS | MAX_POOLS and isinstance(tensor.args[0], Node):
        tensor = tensor.args[0]
    return tensor


def readers(tensor: Node) -> Iterator[Node]:
    """What computes with `tensor`, directly or with a view of it, in graph order."""
    for user in tensor.users:
        if user.target in VIEWS | MAX_POOLS:
            yield from readers(user)
        yield user


def fused_output(node: Node) -> Node:
    """The ReLU-like node that is the only user of `node`, else `node`."""
    users = list(node.users)
    return users[0] if len(users) == 1 and is_relu(users[0]) else node


def reaches_output(node: Node) -> bool:
    """Whether the value leaves the network unchanged but for its shape."""
    return any(user.op == "output" or (user.target in VIEWS and reaches_output(user)) for user in node.users)


def is_constant(argument: object) -> bool:
    """Whether the argument is a weight or another tensor that the network holds."""
    return isinstance(argument, Node) and argument.op == "get_attr"


def is_pooling(node: Node) -> bool:
    """Whether an average is a pooling with windows of one size, or a mean over height and width."""
    if node.target not in AVERAGE_POOLS:
        return False
    source = node.args[0]
    assert isinstance(source, Node)
    shape = source.meta["val"].shape
    if node.target == aten.avg_pool2d.default:
        return True
    if node.target == aten.adaptive_avg_pool2d.default:
        return all(size % parts == 0 for size, parts in zip(shape[-2:], node.meta["val"].shape[-2:], strict=True))
    axes = node.args[1]
    fixed = sorted(axis % 4 for axis in axes if isinstance(axis, int)) if isinstance(axes, list | tuple) else []
    return len(shape) == 4 and fixed == [2, 3]
