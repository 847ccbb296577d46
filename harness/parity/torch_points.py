"""The same tensors in the fake-quantized torch network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch.fx import GraphModule, Node

from harness.parity.comparison_points import ComparisonPoint
from harness.quantization.capture.modules import module_path
from harness.quantization.capture.operators import CONVOLUTIONS, LINEAR, MATRIX_PRODUCTS, TRANSPOSED_CONVOLUTIONS
from harness.quantization.tensor_quantizer import TensorQuantizer, WeightQuantizer

if TYPE_CHECKING:
    from harness.parity.onnx_graph import Array

_PRODUCTS = CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | LINEAR | MATRIX_PRODUCTS
ItemT = TypeVar("ItemT")


class TorchPoints:
    """Finds the nodes of a prepared network that compute the comparison points of its ONNX file, and their values.

    Quantizers are matched by their order, which export keeps; layers with weights by module and number of the call.
    """

    def __init__(self, prepared: GraphModule, points: Sequence[ComparisonPoint]) -> None:
        self._prepared = prepared
        self._quantizers = {
            node: module
            for node, module in _called(prepared)
            if isinstance(module, TensorQuantizer) and not isinstance(module, WeightQuantizer)
        }
        quantized = [point for point in points if point.kind == "quantized"]
        matched = dict(zip(self._quantizers, quantized, strict=False))
        self._points: dict[Node, ComparisonPoint] = matched if len(self._quantizers) == len(quantized) else {}
        products = [node for node in prepared.graph.nodes if node.target in _PRODUCTS]
        layers = [point for point in points if point.is_product]
        by_module = _grouped(products, module_path)
        for module, group in _grouped(layers, lambda point: point.module).items():
            nodes = by_module.get(module, [])
            if len(nodes) == len(group):
                self._points |= dict(zip(nodes, group, strict=True))
        outputs = [point for point in points if point.is_output]
        if len(outputs) == 1:
            self._points.setdefault(prepared.graph.output_node().all_input_nodes[0], outputs[0])

    @property
    def matched(self) -> set[str]:
        """Tensors of the comparison points that were found."""
        return {point.tensor for point in self._points.values()}

    def values(self, batch: torch.Tensor) -> dict[str, Array]:
        """By tensor of the ONNX file: integers of quantized tensors, float32 of others."""
        found: dict[str, Array] = {}

        class Reader(torch.fx.Interpreter):
            """Runs the network and keeps the values at the comparison points."""

            def run_node(self, n: Node) -> Any:
                value = super().run_node(n)
                if n in outer._points:
                    found[outer._points[n].tensor] = outer._as_in_the_file(n, value)
                return value

        outer = self
        with torch.no_grad():
            Reader(self._prepared).run(batch)
        return found

    def _as_in_the_file(self, node: Node, value: torch.Tensor) -> Array:
        quantizer = self._quantizers.get(node)
        if quantizer is None:
            return value.numpy()
        integers = torch.round(value.double() / quantizer.scale.double()) + quantizer.zero_point
        return integers.numpy().astype(np.int64)


def _called(prepared: GraphModule) -> Iterable[tuple[Node, torch.nn.Module]]:
    # `named_modules` would leave out further names of a quantizer that several tensors share.
    return (
        (node, prepared.get_submodule(str(node.target))) for node in prepared.graph.nodes if node.op == "call_module"
    )


def _grouped(items: Iterable[ItemT], key: Callable[[ItemT], str]) -> dict[str, list[ItemT]]:
    groups: dict[str, list[ItemT]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
