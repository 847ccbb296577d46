"""Number format and Q/DQ placement of OpenVINO's integer kernels on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch.fx import GraphModule, Node

from harness.quantization.capture.operators import (
    ADDS,
    CONCATS,
    CONVOLUTIONS,
    LINEAR,
    MATRIX_PRODUCTS,
    MAX_POOLS,
    MULS,
    SELECTIONS,
    SOFTMAXES,
    TRANSPOSED_CONVOLUTIONS,
    VIEWS,
    is_relu,
)
from harness.quantization.formats import IntegerFormat, TargetFormat
from harness.quantization.placement.nodes import float_inputs, is_constant, is_pooling
from harness.quantization.placement.quantizer import PlacementQuantizer

FORMAT = TargetFormat(
    name="openvino-u8s8",
    activations=IntegerFormat(bits=8, signed=False, symmetric=False),
    weights=IntegerFormat(bits=8, signed=True, symmetric=True, narrow=True),
)
"""Zero points cost nothing in convolutions and matrix products with a weight, and give a ReLU all 256 levels. Products
of two activations take none: their factors are signed and symmetric."""

_PRODUCTS = CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | LINEAR | MATRIX_PRODUCTS
_PASSING = VIEWS | SELECTIONS | MAX_POOLS


class OpenVinoQuantizer(PlacementQuantizer):
    """Quantizes what integer ops read, at the op that computed it, and nothing that only passes values on.

    OpenVINO fuses the elementwise ops between a product and the next Q into the product, and carries a
    DequantizeLinear through changes of shape, selections and max pooling by itself. A Q behind one of those would be
    one more kernel.
    """

    def plan(self, model: GraphModule, nodes: Sequence[Node]) -> None:
        """Find what integer ops read, and which of it are factors of a product of two activations."""
        wanted = {node: _read_as_integers(node) for node in nodes}
        self._signed = {
            _origin(tensor)
            for node in nodes
            if node.target in MATRIX_PRODUCTS and _weight(node) is None
            for tensor in wanted[node]
            if _origin(tensor).target not in SOFTMAXES  # their smallest value is 0, and so is their zero point
        }
        quantized = {_origin(tensor) for tensors in wanted.values() for tensor in tensors}
        gates = [node for node in nodes if node.target in MULS]
        # What is quantized for others is read as integers here, too: the product before hands out one byte per value.
        self._wanted = wanted | {
            node: [tensor for tensor in float_inputs(node) if _origin(tensor) in quantized] for node in gates
        }
        # Its inputs share one scale, which is also that of its output.
        self._concats = {node for node in nodes if node.target in CONCATS and wanted[node]}
        groups = _joined([self._parts(node) for node in self._concats])
        self._unshared = {tensor: group for group in groups for tensor in group}

    def _parts(self, concat: Node) -> set[Node]:
        """What is concatenated, also by concatenations among the inputs."""
        origins = set(map(_origin, float_inputs(concat)))
        nested = origins & self._concats
        return (origins - nested).union(*map(self._parts, nested))

    def annotate_node(self, node: Node) -> None:
        """Annotate one call by its operator."""
        weight = _weight(node)
        if weight is not None and self._wanted[node]:
            self.mark(node, {weight: self.weight_spec(node, _channel_axis(node))})
        for tensor in self._wanted[node]:
            reader, source = _edge(node, tensor)
            if source in self._concats:
                continue
            self.mark_input(reader, source)
            # PT2E wants the first use of a scale in graph order to own it.
            for other in self._unshared.pop(source, set()) - {source}:
                self.share(other, source, reader)
                self._unshared.pop(other, None)

    def readers_of(self, tensor: Node) -> Iterator[Node]:
        """What computes with the tensor, also behind selections."""
        return _readers(_origin(tensor))

    def activation_format(self, tensor: Node) -> IntegerFormat:
        """Signed and without a zero point for the factors of a product of two activations."""
        chosen = super().activation_format(tensor)
        return replace(chosen, signed=True, symmetric=True) if _origin(tensor) in self._signed else chosen


def _read_as_integers(node: Node) -> list[Node]:
    """The activations that the node's integer kernel reads; none where it has no integer kernel, or gains nothing."""
    if node.target in _PRODUCTS:
        weight, source = _weight(node), node.args[0]
        assert isinstance(source, Node)
        if weight is not None:
            return [] if node.target in TRANSPOSED_CONVOLUTIONS and _groups(node) > 1 else [source]
        factors = float_inputs(node)
        return factors if node.target in MATRIX_PRODUCTS and not any(map(is_constant, factors)) else []
    if is_pooling(node):
        return float_inputs(node)
    if node.target in CONCATS:
        joined = float_inputs(node)
        return joined if not any(map(is_constant, joined)) and any(map(_is_product, _readers(node))) else []
    return _summands(node) if node.target in ADDS else []


def _summands(add: Node) -> list[Node]:
    """The inputs to quantize of a sum of feature maps, which is then fused into the convolution before it.

    That convolution's own output is not rounded (`harness.targets.openvino.residual_sums`). The residual sum of a
    transformer is not quantized: it is not fused, and rounding it costs much accuracy.
    """
    inputs = list(dict.fromkeys(float_inputs(add)))
    if len(inputs) < 2 or any(is_constant(each) or _origin(each).target in LINEAR for each in inputs):
        return []
    if not any(_computed_by(each).target in CONVOLUTIONS for each in inputs):
        return []
    fusable = [each for each in inputs if each.target in CONVOLUTIONS and len(each.users) == 1]
    # Of two convolutions OpenVINO fuses the sum into the one that is its first input.
    return [each for each in inputs if each not in fusable[:1]]


def _computed_by(tensor: Node) -> Node:
    """The op that computes the tensor, before the activation function that is fused into it."""
    origin = _origin(tensor)
    source = origin.args[0] if is_relu(origin) else origin
    return source if isinstance(source, Node) else origin


def _is_product(node: Node) -> bool:
    return node.target in _PRODUCTS


def _weight(node: Node) -> Node | None:
    """The constant second factor of a product, which a quantizer gives integers to."""
    if node.target not in _PRODUCTS:
        return None
    source, weight = node.args[:2]
    assert isinstance(source, Node) and isinstance(weight, Node)
    is_matrix = node.target not in MATRIX_PRODUCTS or weight.meta["val"].ndim == 2
    return weight if is_constant(weight) and not is_constant(source) and is_matrix else None


def _channel_axis(node: Node) -> int:
    """Along which the output channels of a product's weight lie."""
    return 1 if node.target in TRANSPOSED_CONVOLUTIONS | MATRIX_PRODUCTS else 0


def _groups(transposed: Node) -> int:
    names = [argument.name for argument in transposed.target._schema.arguments]  # type: ignore[union-attr]
    place = names.index("groups")
    given = transposed.args[place] if place < len(transposed.args) else transposed.kwargs.get("groups", 1)
    return given if isinstance(given, int) else 1


def _origin(tensor: Node) -> Node:
    """The tensor whose values `tensor` holds, all or some of them; itself when it is computed."""
    while tensor.target in _PASSING and isinstance(tensor.args[0], Node):
        tensor = tensor.args[0]
    return tensor


def _edge(reader: Node, tensor: Node) -> tuple[Node, Node]:
    """The first op behind the origin of `tensor` on the way to `reader`, and the origin."""
    while tensor.target in _PASSING and isinstance(tensor.args[0], Node):
        reader, tensor = tensor, tensor.args[0]
    return reader, tensor


def _readers(tensor: Node) -> Iterator[Node]:
    for user in tensor.users:
        if user.target in _PASSING:
            yield from _readers(user)
        yield user


def _joined(groups: Sequence[set[Node]]) -> list[set[Node]]:
    """The groups, merged where they overlap."""
    merged: list[set[Node]] = []
    for group in groups:
        overlapping = [each for each in merged if each & group]
        merged = [each for each in merged if each not in overlapping] + [group.union(*overlapping)]
    return merged
