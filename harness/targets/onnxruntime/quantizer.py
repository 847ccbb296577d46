"""Number format and Q/DQ placement of ONNX Runtime's integer kernels on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import GraphModule, Node

from harness.quantization.capture.operators import (
    ADDS,
    AVERAGE_POOLS,
    CONCATS,
    CONVOLUTIONS,
    LEAKY_RELUS,
    LINEAR,
    MATRIX_PRODUCTS,
    MAX_POOLS,
    MULS,
    SELECTIONS,
    SIGMOIDS,
    SOFTMAXES,
    VIEWS,
)
from harness.quantization.formats import IntegerFormat, TargetFormat
from harness.quantization.placement.nodes import float_inputs, fused_output, is_constant, is_pooling, reaches_output
from harness.quantization.placement.quantizer import PlacementQuantizer
from harness.quantization.placement.regions import Kernels, Regions, choose_regions

FORMAT = TargetFormat(
    name="onnxruntime-u8s8",
    activations=IntegerFormat(bits=8, signed=False, symmetric=False),
    weights=IntegerFormat(bits=8, signed=True, symmetric=True, narrow=True),
)
"""ReLU is absorbed by the convolution only where the zero point is the smallest integer, hence unsigned and affine."""

_SAVING = 0.1
"""What an integer kernel saves per value, in conversions: less than one, but enough to decide a tie."""
_MOVING_SAVING = 0.01
"""What moving one byte instead of four saves."""
_COMPUTING = ADDS | MULS | CONCATS | SIGMOIDS | LEAKY_RELUS | AVERAGE_POOLS | MAX_POOLS
_SAME_SCALE = MAX_POOLS | VIEWS | SELECTIONS


class OnnxRuntimeQuantizer(PlacementQuantizer):
    """Convolutions and matrix products on integers, and every other op that has an integer kernel where it pays."""

    def plan(self, model: GraphModule, nodes: Sequence[Node]) -> None:
        """Choose the ops that run on integers."""
        always = {node for node in nodes if _is_product(node)}
        optional = {node: saving for node in nodes if (saving := _saving(node)) is not None}
        absorbing = [node for node in (*always, *optional) if node.target not in _SAME_SCALE]
        fused = {fused_output(node): node for node in absorbing if fused_output(node) is not node}
        float_output = {node for node in always if node.target not in CONVOLUTIONS}
        self._regions: Regions = choose_regions(model.graph, Kernels(always, float_output, optional), fused)

    def annotate_node(self, node: Node) -> None:
        """Annotate one call by its operator."""
        if node not in self._regions.integer:
            return
        if node.target in _SAME_SCALE:
            self.mark_shared(node)
            return
        inputs = {tensor: self.activation_spec(tensor) for tensor in float_inputs(node) if not is_constant(tensor)}
        weight = _weight(node)
        if weight is not None:
            source = node.args[0]
            assert isinstance(source, Node)
            axis = 0 if node.target in CONVOLUTIONS | LINEAR else 1
            inputs = {source: self.activation_spec(source), weight: self.weight_spec(node, axis)}
        self.mark(node, inputs)
        if node in self._regions.integer_outputs:
            self.mark_output(node)


def _is_product(node: Node) -> bool:
    """Whether the node multiplies by a kernel that runs on integers."""
    if node.target in CONVOLUTIONS:
        # There is no integer convolution with float output.
        return _weight(node) is not None and not reaches_output(fused_output(node))
    if node.target in LINEAR:
        return _weight(node) is not None
    return node.target in MATRIX_PRODUCTS and (_weight(node) is not None or not any(map(is_constant, node.args)))


def _weight(node: Node) -> Node | None:
    """The constant second factor."""
    if node.target not in CONVOLUTIONS | LINEAR | MATRIX_PRODUCTS:
        return None
    source, weight = node.args[:2]
    assert isinstance(source, Node) and isinstance(weight, Node)
    is_matrix = node.target in CONVOLUTIONS | LINEAR or weight.meta["val"].ndim == 2
    return weight if is_constant(weight) and not is_constant(source) and is_matrix else None


def _saving(node: Node) -> float | None:
    """What the integer kernel of an op other than a product saves; None where there is none."""
    inputs = float_inputs(node)
    output = node if node.target in _SAME_SCALE else fused_output(node)
    if not inputs or any(map(is_constant, inputs)) or reaches_output(output):
        return None
    if node.target in ADDS | MULS and len(inputs) < 2:
        return None
    if node.target in AVERAGE_POOLS and not is_pooling(node):
        return None
    if node.target in _COMPUTING:
        return _SAVING
    if node.target in VIEWS | SELECTIONS:
        return _MOVING_SAVING
    return 0.0 if node.target in SOFTMAXES else None  # float softmax is more accurate
