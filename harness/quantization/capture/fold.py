"""Folds batch norms into the layers before them, where that leaves the function as it is.

A batch norm is folded when it alone reads the layer's output, and its channels are the layer's output channels. A
weight that something else reads too is copied for the layer; calls of one layer with one batch norm stay one weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BATCH_NORMS, BatchNorm
from harness.quantization.capture.graph_tensors import add_tensor, attribute, is_parameter, set_tensor
from harness.quantization.capture.operators import BATCH_NORM, CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS

_WEIGHT, _BIAS = 1, 2
_TRANSPOSED_GROUPS = 6


@dataclass(frozen=True)
class _FoldablePair:
    """A layer and the batch norm behind it."""

    layer: Node
    norm: Node

    @property
    def weight(self) -> Node:
        weight = self.layer.args[_WEIGHT]
        assert isinstance(weight, Node)
        return weight

    @property
    def bias(self) -> Node | None:
        bias = self.layer.args[_BIAS] if len(self.layer.args) > _BIAS else None
        assert bias is None or isinstance(bias, Node)
        return bias

    @property
    def same_result(self) -> tuple[object, ...]:
        """Equal for pairs whose folded weights and biases are equal."""
        return self.weight, self.bias, self.layer.target, _groups(self.layer), *self.norm.args[1:5], self.norm.args[7]


def fold_batch_norm(graph_module: GraphModule) -> None:
    """Fold, in place, every batch norm that can be. Needs one node per tensor, as `one_node_per_tensor` leaves them.

    The folded ones are remembered in the graph's `meta`, so that QAT can take them apart again.
    """
    graph_module.meta[BATCH_NORMS] = {}
    while _fold_once(graph_module):  # again, because a batch norm may stand behind a batch norm
        graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _fold_once(graph_module: GraphModule) -> bool:
    """Whether there was anything to fold."""
    groups: dict[tuple[object, ...], list[_FoldablePair]] = {}
    for norm in graph_module.graph.nodes:
        if is_frozen_batch_norm(norm) and _folds_into(norm.args[0], norm):
            pair = _FoldablePair(norm.args[0], norm)
            groups.setdefault(pair.same_result, []).append(pair)
    for pairs in groups.values():
        _fold(graph_module, pairs)
    return bool(groups)


def is_frozen_batch_norm(node: Node) -> bool:
    """Whether the node is a batch norm with running statistics, all of whose parameters the network holds."""
    if node.target is not BATCH_NORM or node.args[5]:
        return False
    gamma, beta, mean, variance = node.args[1:5]
    optional = all(each is None or _is_held(each) for each in (gamma, beta))
    return optional and _is_held(mean) and _is_held(variance)


def _is_held(argument: object) -> bool:
    return isinstance(argument, Node) and argument.op == "get_attr"


def _folds_into(layer: object, norm: Node) -> bool:
    if not isinstance(layer, Node) or layer.target not in CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | LINEAR:
        return False
    bias = layer.args[_BIAS] if len(layer.args) > _BIAS else None
    if not _is_held(layer.args[_WEIGHT]) or not (bias is None or _is_held(bias)) or len(layer.users) != 1:
        return False
    weight = layer.args[_WEIGHT]
    assert isinstance(weight, Node)
    # A batch norm's channels are axis 1. Of (N, T, C) a linear layer's are the last; without a batch they are axis 0.
    n_axes = 2 if layer.target in LINEAR else weight.meta["val"].ndim
    is_for_channels = layer.meta["val"].ndim == n_axes and layer.all_input_nodes.count(weight) == 1
    return is_for_channels and layer.args[0] is not weight and norm.args[0] is layer


def _fold(graph_module: GraphModule, pairs: Sequence[_FoldablePair]) -> None:
    """Fold one batch norm into one layer, which may be called several times."""
    first = pairs[0]
    norm = _read(graph_module, first)
    weight = attribute(graph_module, str(first.weight.target)).detach()
    factor, shift = norm.factor_and_shift()
    folded = (weight.double() * _per_output(factor, weight, first.layer)).to(weight.dtype)
    trains = is_parameter(graph_module, str(first.weight.target))
    weight_node = _assign(graph_module, pairs, first.weight, folded, trains=trains)
    bias_node = _assign(graph_module, pairs, first.bias, shift.to(weight.dtype), name=f"{first.weight.target}_bias")
    for pair in pairs:
        pair.layer.args = (pair.layer.args[0], weight_node, bias_node, *pair.layer.args[_BIAS + 1 :])
        pair.norm.replace_all_uses_with(pair.layer)
    if first.layer.target in CONVOLUTIONS | LINEAR and trains:
        graph_module.meta[BATCH_NORMS][str(weight_node.target)] = norm


def _assign(
    graph_module: GraphModule,
    pairs: Sequence[_FoldablePair],
    old: Node | None,
    tensor: torch.Tensor,
    *,
    trains: bool = True,
    name: str = "",
) -> Node:
    """The node of the folded tensor: the old one when only these layers read it, else a new one."""
    layers = {pair.layer for pair in pairs}
    if old is not None and set(old.users) <= layers:
        set_tensor(graph_module, str(old.target), tensor, trains=trains)
        return old
    earliest = next(node for node in graph_module.graph.nodes if node in layers)
    return add_tensor(graph_module, name if old is None else str(old.target), tensor, earliest, trains=trains)


def _read(graph_module: GraphModule, pair: _FoldablePair) -> BatchNorm:
    """The batch norm, with the mean of what it would read from the layer without its bias."""
    norm = BatchNorm.of(graph_module, pair.norm)
    if pair.bias is None:
        return norm
    return norm.behind_bias(attribute(graph_module, str(pair.bias.target)).detach())


def _per_output(factor: torch.Tensor, weight: torch.Tensor, layer: Node) -> torch.Tensor:
    """`factor`, one per output channel, in a shape that multiplies `weight`.

    The weight of a transposed convolution is (C_in, C_out / groups, …): output channel c of group g reads the rows
    that are inputs of g, column c.
    """
    if layer.target not in TRANSPOSED_CONVOLUTIONS:
        return factor.reshape(-1, *[1] * (weight.ndim - 1))
    by_group = factor.reshape(_groups(layer), -1)
    rows = by_group.repeat_interleave(weight.shape[0] // len(by_group), dim=0)
    return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))


def _groups(layer: Node) -> int:
    if layer.target not in TRANSPOSED_CONVOLUTIONS:
        return 1
    args = layer.args
    groups = args[_TRANSPOSED_GROUPS] if len(args) > _TRANSPOSED_GROUPS else layer.kwargs.get("groups", 1)
    assert isinstance(groups, int)
    return groups
