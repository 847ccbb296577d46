"""`relu6_to_relu`: lets `cross_layer_equalization` through, at the price of another FP32 function."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.fx import GraphModule, Node

from harness.quantization.ptq.base import WeightStep

aten = torch.ops.aten
CLIPPED = {aten.hardtanh.default, aten.hardtanh_.default, aten.clamp.default, aten.clamp_.default}


class Relu6ToRelu(WeightStep):
    """Replaces ReLU with an upper bound by ReLU, which is positively homogeneous.

    Nagel et al., arXiv:1906.04721, table 1, do so before they equalize MobileNetV2, and lose 0.02 points there. It is a
    step of its own because it changes what the FP32 network computes.
    """

    name: ClassVar[str] = "relu6_to_relu"
    keeps_function: ClassVar[bool] = False

    def apply(self, captured: GraphModule) -> list[str]:
        """How many were replaced."""
        replaced = 0
        for node in captured.graph.nodes:
            if is_clipped_relu(node):
                node.target, node.args, node.kwargs = aten.relu.default, (node.args[0],), {}
                replaced += 1
        captured.recompile()
        return [f"{self.name} replaced {replaced} activations"]


def is_clipped_relu(node: Node) -> bool:
    """Whether the node is min(max(x, 0), bound)."""
    if node.target is aten.relu6.default:
        return True
    low, high = [*node.args[1:3], None, None][:2]
    return node.target in CLIPPED and isinstance(low, int | float) and low == 0 and high is not None


STEP = Relu6ToRelu()
