"""`cross_layer_equalization`: neighbouring layers share their weight ranges channel by channel."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BATCH_NORMS
from harness.quantization.capture.operators import LINEAR, MAX_POOLS
from harness.quantization.ptq.base import WeightStep
from harness.quantization.ptq.layers import bias_of, layer_nodes, shares_weights, weight_of, weight_path

aten = torch.ops.aten
HOMOGENEOUS = {aten.relu.default, aten.relu_.default, aten.leaky_relu.default, aten.leaky_relu_.default}
"""f(s x) = s f(x) for s > 0: only then can a factor pass through. ReLU6 and SiLU are not among them."""
PER_CHANNEL = MAX_POOLS | {
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.dropout.default,
    aten.dropout_.default,
    aten.flatten.using_ints,
}
"""Positively homogeneous too. `mean` is when it leaves the channels apart, see `_is_spatial_mean`."""
MAX_SWEEPS = 50
CONVERGED = 1e-4
"""Largest |log factor| of a sweep that changes nothing any more."""


class LayerPair(NamedTuple):
    """Two layers with nothing but homogeneous calls between them, and no other reader of what is between."""

    first: Node
    second: Node


class CrossLayerEqualization(WeightStep):
    """Scales channel c down by s in one layer and up by s in the next, so that both have the same largest |weight|.

    With ranges r1 and r2 of the channel, s = sqrt(r1 / r2), hence both become sqrt(r1 r2). Pairs are visited in order
    until nothing changes; convolution, depthwise convolution, convolution so end with one range for all three.
    The FP32 function stays, up to rounding. Pairs with ReLU6 or another bounded activation between them are left out
    and noted: equalizing them would move the bound. `relu6_to_relu` before this step removes the bound.

    Source: section 4.1 of Nagel et al., arXiv:1906.04721.
    """

    name: ClassVar[str] = "cross_layer_equalization"

    def apply(self, captured: GraphModule) -> list[str]:
        """How many pairs were equalized, and which were left out."""
        pairs, left_out = find_pairs(captured)
        for _ in range(MAX_SWEEPS):
            if max((_equalize(captured, pair) for pair in pairs), default=0.0) < CONVERGED:
                break
        notes = [f"{self.name} equalized {len(pairs)} pairs of layers"]
        if left_out:
            shown = ", ".join(f"`{first.name}` and `{second.name}`" for first, second in left_out)
            notes.append(
                f"{self.name} left out {len(left_out)} pairs with an activation that is not homogeneous: {shown}"
            )
        return notes


def find_pairs(captured: GraphModule) -> tuple[list[LayerPair], list[LayerPair]]:
    """Pairs that can be equalized exactly, and pairs that only a bounded or curved activation prevents."""
    exact: list[LayerPair] = []
    left_out: list[LayerPair] = []
    layers = [layer for layer in layer_nodes(captured) if not shares_weights(captured, layer)]
    for first in layers:
        node, is_homogeneous = first, True
        while len(node.users) == 1:
            (node,) = node.users
            if node in layers or not _passes_channels(node):
                break
            is_homogeneous &= node.target in HOMOGENEOUS | PER_CHANNEL or _is_spatial_mean(node)
        if node in layers and node is not first and _channels_match(captured, first, node):
            (exact if is_homogeneous else left_out).append(LayerPair(first, node))
    return exact, left_out


def _passes_channels(node: Node) -> bool:
    """Whether the node computes each channel from that channel alone."""
    others = [source for source in node.all_input_nodes if source.op == "get_attr"]
    if node.op != "call_function" or len(node.all_input_nodes) != 1 or others:
        return False
    return node.target in PER_CHANNEL or _is_spatial_mean(node) or _is_activation(node)


def _is_spatial_mean(node: Node) -> bool:
    axes = node.args[1] if node.target is aten.mean.dim else None
    return isinstance(axes, list | tuple) and {axis % 4 for axis in axes if isinstance(axis, int)} == {2, 3}


def _is_activation(node: Node) -> bool:
    source = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], Node) else None
    value = node.meta.get("val")
    return isinstance(source, torch.Tensor) and isinstance(value, torch.Tensor) and source.shape == value.shape


def _channels_match(captured: GraphModule, first: Node, second: Node) -> bool:
    """A linear layer behind a flattened image has more inputs than the layer before it has channels."""
    weight = weight_of(captured, second)
    return weight_of(captured, first).shape[0] == weight.shape[1] * _groups(second)


def _groups(layer: Node) -> int:
    groups = layer.args[6] if layer.target not in LINEAR and len(layer.args) > 6 else 1
    assert isinstance(groups, int)
    return groups


def _equalize(captured: GraphModule, pair: LayerPair) -> float:
    """Equalize one pair in place; the largest |log s|."""
    first, second = weight_of(captured, pair.first).data, weight_of(captured, pair.second).data
    by_input = second.reshape(_groups(pair.second), -1, *second.shape[1:])  # (groups, outputs, inputs of a group, …)
    range1 = first.flatten(1).abs().amax(1)
    range2 = by_input.movedim(2, 1).flatten(2).abs().amax(2).flatten()
    alive = (range1 > 0) & (range2 > 0)
    factor = torch.where(alive, (range1 / range2.clamp_min(torch.finfo(range2.dtype).tiny)).sqrt(), 1.0)
    first /= factor.reshape(-1, *[1] * (first.ndim - 1))
    bias = bias_of(captured, pair.first)
    if bias is not None:
        bias.data /= factor
    _scale_batch_norm(captured, pair.first, 1.0 / factor)
    by_input *= factor.reshape(by_input.shape[0], 1, -1, *[1] * (by_input.ndim - 3))
    return float(factor.log().abs().max())


def _scale_batch_norm(captured: GraphModule, layer: Node, factor: torch.Tensor) -> None:
    """QAT takes the batch norm out of the weight again, which has to be the one that is in it."""
    batch_norms = captured.meta.get(BATCH_NORMS, {})
    path = weight_path(layer)
    if path in batch_norms:
        captured.meta[BATCH_NORMS] = {**batch_norms, path: batch_norms[path].scaled(factor)}


STEP = CrossLayerEqualization()
