"""Batch norm into grouped transposed convolutions, which torchao's folding does not know."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten
_TRANSPOSED = {aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input}
_GROUPS_ARGUMENT = 6


def fold_into_grouped_transposed(graph_module: GraphModule) -> None:
    """Fold every batch norm behind a transposed convolution with groups, in place.

    The weight is (C_in, C_out / groups, …): output channel c of group g scales the weights [inputs of g, c]. torchao
    scales axis 1 by all C_out channels, which fails for more than one group.
    """
    for norm in list(graph_module.graph.nodes):
        source = norm.args[0] if norm.target == aten.batch_norm.default else None
        if isinstance(source, Node) and source.target in _TRANSPOSED and _groups(source) > 1 and len(source.users) == 1:
            _fold(graph_module, source, norm)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _groups(node: Node) -> int:
    groups = node.args[_GROUPS_ARGUMENT] if len(node.args) > _GROUPS_ARGUMENT else node.kwargs.get("groups", 1)
    assert isinstance(groups, int)
    return groups


def _fold(graph_module: GraphModule, convolution: Node, norm: Node) -> None:
    weight_node = convolution.args[1]
    bias_node = convolution.args[2] if len(convolution.args) > 2 else None
    assert isinstance(weight_node, Node)
    weight = _tensor(graph_module, weight_node)
    gamma, beta, mean, variance = (_tensor(graph_module, node) for node in norm.args[1:5])
    eps = norm.args[7]
    assert weight is not None and mean is not None and variance is not None and isinstance(eps, float)
    scale = torch.rsqrt(variance + eps) * (gamma if gamma is not None else 1.0)
    bias = _tensor(graph_module, bias_node) if isinstance(bias_node, Node) else None
    shift = ((bias if bias is not None else 0.0) - mean) * scale + (beta if beta is not None else 0.0)

    groups = _groups(convolution)
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    scaled = (by_group * scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).flatten(0, 1)
    _assign(graph_module, str(weight_node.target), scaled)
    path = str(bias_node.target) if isinstance(bias_node, Node) else f"{weight_node.target}_bias"
    _assign(graph_module, path, shift)
    if not isinstance(bias_node, Node):
        with graph_module.graph.inserting_before(convolution):
            bias_node = graph_module.graph.get_attr(path)
        bias_node.meta["val"] = mean_value = norm.args[3].meta["val"]  # type: ignore[union-attr]  # one per channel
        assert mean_value.shape == shift.shape
        convolution.args = (*convolution.args[:2], bias_node, *convolution.args[3:])
    norm.replace_all_uses_with(convolution)


def _tensor(graph_module: GraphModule, node: object) -> torch.Tensor | None:
    if not isinstance(node, Node):
        return None
    owner, _, name = str(node.target).rpartition(".")
    tensor = getattr(graph_module.get_submodule(owner), name)
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach()


def _assign(graph_module: GraphModule, path: str, tensor: torch.Tensor) -> None:
    owner, _, name = path.rpartition(".")
    module = graph_module.get_submodule(owner)
    if hasattr(module, name):
        delattr(module, name)
    module.register_parameter(name, torch.nn.Parameter(tensor))
