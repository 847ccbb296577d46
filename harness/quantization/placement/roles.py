"""What an operation is in its network, whatever its module is called."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import GraphModule, Node

from harness.quantization.capture.operators import ADDS, CONCATS, CONVOLUTIONS, LINEAR
from harness.quantization.placement.nodes import float_inputs
from harness.quantization.settings import Role

_GROUPS = 6
"""Place of `groups` among the arguments of ATen's convolutions."""


def nodes_of_role(role: Role, graph_module: GraphModule) -> list[Node]:
    """The calls of a captured graph that play `role`, in execution order."""
    calls = [node for node in graph_module.graph.nodes if node.op == "call_function"]
    return _ROLES[role](calls)


def _first_conv(calls: list[Node]) -> list[Node]:
    return [node for node in calls if node.target in CONVOLUTIONS][:1]


def _last_linear(calls: list[Node]) -> list[Node]:
    return [node for node in calls if node.target in LINEAR][-1:]


def _residual_adds(calls: list[Node]) -> list[Node]:
    """Additions of two activations; a constant or a parameter as summand makes no residual."""
    return [node for node in calls if node.target in ADDS and _activations(node) == 2]


def _activations(node: Node) -> int:
    return sum(tensor.op != "get_attr" for tensor in float_inputs(node))


def _depthwise_convs(calls: list[Node]) -> list[Node]:
    """Convolutions with as many groups as input channels, of which there are several."""
    return [node for node in calls if node.target in CONVOLUTIONS and _groups(node) == _channels(node.args[0]) > 1]


def _groups(node: Node) -> int:
    groups = node.args[_GROUPS] if len(node.args) > _GROUPS else node.kwargs.get("groups", 1)
    assert isinstance(groups, int)
    return groups


def _channels(tensor: object) -> int:
    assert isinstance(tensor, Node)
    return int(tensor.meta["val"].shape[1])


def _concats(calls: list[Node]) -> list[Node]:
    return [node for node in calls if node.target in CONCATS]


_ROLES: dict[Role, Callable[[list[Node]], list[Node]]] = {
    "first_conv": _first_conv,
    "last_linear": _last_linear,
    "residual_add": _residual_adds,
    "depthwise_conv": _depthwise_convs,
    "concat": _concats,
}
