"""Number format and Q/DQ placement of ONNX Runtime's integer kernels on the CPU."""

from __future__ import annotations

from torch.fx import Node

from harness.quantization.formats import IntegerFormat, TargetFormat
from harness.quantization.placement import (
    ADDS,
    AVERAGE_POOLS,
    CONCATS,
    CONVOLUTIONS,
    LINEAR,
    MAX_POOLS,
    MULS,
    VIEWS,
    PlacementQuantizer,
    float_inputs,
)

FORMAT = TargetFormat(
    name="onnxruntime-u8s8",
    activations=IntegerFormat(bits=8, signed=False, symmetric=False),
    weights=IntegerFormat(bits=8, signed=True, symmetric=True, narrow=True),
)
"""ReLU is absorbed by the convolution only where the zero point is the smallest integer, hence unsigned and affine."""


class OnnxRuntimeQuantizer(PlacementQuantizer):
    """Quantizes in and out of every op that has an integer kernel, so that whole graphs stay integer."""

    def annotate_node(self, node: Node) -> None:
        """Annotate one call by its operator."""
        if node.target in CONVOLUTIONS | LINEAR:
            source, weight = node.args[:2]
            assert isinstance(source, Node) and isinstance(weight, Node)
            if weight.op == "get_attr":
                self.mark(node, {source: self.activation_spec(source), weight: self.weight_spec(node, channel_axis=0)})
                self.mark_output(node)
        elif node.target in ADDS | MULS | CONCATS:
            inputs = float_inputs(node)
            if len(inputs) >= 2 and all(tensor.op != "get_attr" for tensor in inputs):
                self.mark(node, {tensor: self.activation_spec(tensor) for tensor in inputs})
                self.mark_output(node)
        elif node.target in AVERAGE_POOLS:
            (source,) = float_inputs(node)
            self.mark(node, {source: self.activation_spec(source)})
            self.mark_output(node)
        elif node.target in MAX_POOLS | VIEWS:
            self.mark_shared(node)
