"""Number format and Q/DQ placement of TensorRT, for `tensorrt` and `tensorrt-rtx`.

Source: NVIDIA's "Working with Quantized Types" (explicit quantization: Q/DQ placement recommendations), and
NVIDIA/TensorRT#1992 for the residual add.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import GraphModule, Node

from harness.quantization.capture.operators import (
    ADDS,
    CONCATS,
    CONVOLUTIONS,
    LINEAR,
    MATRIX_PRODUCTS,
    TRANSPOSED_CONVOLUTIONS,
    VIEWS,
)
from harness.quantization.formats import IntegerFormat, TargetFormat
from harness.quantization.placement.nodes import float_inputs, is_constant, is_pooling
from harness.quantization.placement.quantizer import PlacementQuantizer

FORMAT = TargetFormat(
    name="tensorrt-s8s8",
    activations=IntegerFormat(bits=8, signed=True, symmetric=True),
    weights=IntegerFormat(bits=8, signed=True, symmetric=True, narrow=True),
)
"""TensorRT takes no zero point but 0."""

_WEIGHTED = CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | LINEAR | MATRIX_PRODUCTS
_WEIGHT_CHANNEL_AXIS = dict.fromkeys(TRANSPOSED_CONVOLUTIONS | MATRIX_PRODUCTS, 1)


class TensorRTQuantizer(PlacementQuantizer):
    """Quantizes what goes into convolutions and matrix products, and never what leaves an op.

    TensorRT fuses convolution, bias, residual add and ReLU into one layer, so there is nothing between them; the layer
    takes its output precision from the *other* input of the add, which is quantized for that reason.
    """

    def plan(self, model: GraphModule, nodes: Sequence[Node]) -> None:
        """Find what must share a scale, and which branch of an add is the longer one."""
        self._depths = _depths(model)
        self._concats = {
            node for node in nodes if node.target in CONCATS and not any(map(is_constant, float_inputs(node)))
        }
        groups = _joined([float_inputs(node) for node in self._concats])
        self._unshared = {tensor: group for group in groups for tensor in group}

    def annotate_node(self, node: Node) -> None:
        """Annotate one call by its operator."""
        tensors: Sequence[Node] = ()
        if node.target in _WEIGHTED:
            source, weight = node.args[:2]
            assert isinstance(source, Node) and isinstance(weight, Node)
            if is_constant(weight) and not is_constant(source):
                axis = _WEIGHT_CHANNEL_AXIS.get(node.target, 0)
                self.mark(node, {source: self._input_spec(source, node), weight: self.weight_spec(node, axis)})
                return
            tensors = (source, weight) if node.target in MATRIX_PRODUCTS and not is_constant(source) else ()
        elif is_pooling(node) or node in self._concats:
            tensors = float_inputs(node)
        elif node.target in ADDS:
            tensors = self._identity_inputs(node)
        if tensors:
            self.mark(node, {tensor: self._input_spec(tensor, node) for tensor in tensors})

    def _input_spec(self, tensor: Node, reader: Node) -> object:
        """The spec of an input of `reader`; all that some concatenation joins share one scale.

        TensorRT then moves Q in front of the concatenation and copies integers. PT2E wants the first use of the scale
        in graph order to own it.
        """
        spec = self.activation_spec(tensor)
        for other in self._unshared.pop(tensor, set()) - {tensor}:
            self.share(other, tensor, reader)
            self._unshared.pop(other, None)
        return spec

    def _identity_inputs(self, add: Node) -> Sequence[Node]:
        """Inputs of a residual add to quantize.

        The convolution that fuses with the add stays in its accumulators, the other input is quantized. Of two
        convolutions, the one with more ops before it is the branch, and the other one the downsampled identity. Where
        no convolution can fuse, both are quantized. Residual sums of linear layers (transformers) are not.
        """
        inputs = list(dict.fromkeys(float_inputs(add)))
        if len(inputs) < 2 or any(map(is_constant, inputs)) or any(_origin(each).target in LINEAR for each in inputs):
            return ()
        fusable = [each for each in inputs if each.target in CONVOLUTIONS and len(each.users) == 1]
        if not fusable:
            return inputs
        branch = max(fusable, key=lambda convolution: self._depths[convolution])
        return [each for each in inputs if each is not branch]


def _origin(node: Node) -> Node:
    """The op whose values these are, before any change of shape."""
    while node.target in VIEWS:
        source = node.args[0]
        assert isinstance(source, Node)
        node = source
    return node


def _depths(model: GraphModule) -> dict[Node, int]:
    """Number of ops on the longest way from the network's input to each node."""
    depths: dict[Node, int] = {}
    for node in model.graph.nodes:
        depths[node] = 1 + max((depths[source] for source in node.all_input_nodes), default=-1)
    return depths


def _joined(groups: list[list[Node]]) -> list[set[Node]]:
    """The groups, merged where they overlap."""
    merged: list[set[Node]] = []
    for group in groups:
        new = set(group)
        for other in [each for each in merged if each & new]:
            new |= other
            merged.remove(other)
        merged.append(new)
    return merged
