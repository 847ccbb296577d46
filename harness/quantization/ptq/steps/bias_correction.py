"""`bias_correction`: the mean error of each layer alone goes into its bias."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.fx import GraphModule, Node

from harness.quantization.prepared import set_mode
from harness.quantization.ptq.base import Batches, CalibratedStep
from harness.quantization.ptq.layers import Moments, bias_of, quantized_layers
from harness.quantization.ptq.node_by_node import watch
from harness.quantization.tensor_quantizer import TensorQuantizer


class BiasCorrection(CalibratedStep):
    """Adds E[y - y'] per output channel to the bias: y from the FP32 network, y' from the layer quantized alone.

    One pass. Each layer is quantized on the FP32 network's own input to it, because otherwise the shift of one layer
    would be corrected again by all that follow.

    Source: section 4.2 of Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    arXiv:1906.04721, with measured instead of analytical means.
    """

    name: ClassVar[str] = "bias_correction"

    def apply(self, prepared: GraphModule, batches: Batches) -> list[str]:
        """No notes."""
        layers = [layer for layer in quantized_layers(prepared) if bias_of(prepared, layer) is not None]
        float_outputs = {layer: Moments() for layer in layers}
        outputs = {layer: Moments() for layer in layers}

        def compare(layer: Node, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
            float_outputs[layer].update(layer, output)
            quantized = [
                _quantized(prepared, source, value) for source, value in zip(layer.args, arguments, strict=True)
            ]
            assert callable(layer.target)
            outputs[layer].update(layer, layer.target(*quantized, **layer.kwargs))

        set_mode(prepared, "off")
        watch(prepared, batches, layers, compare)
        set_mode(prepared, "quantize")
        for layer in layers:
            bias = bias_of(prepared, layer)
            assert bias is not None
            bias.data += (float_outputs[layer].mean - outputs[layer].mean).to(bias.dtype)
        return []


def _quantized(prepared: GraphModule, source: Any, value: Any) -> Any:
    """What the quantizer that produced an argument makes of it when it is switched on."""
    if not isinstance(source, Node) or source.op != "call_module":
        return value
    quantizer = prepared.get_submodule(str(source.target))
    if not isinstance(quantizer, TensorQuantizer):
        return value
    quantizer.mode = "quantize"
    try:
        return quantizer(value)
    finally:
        quantizer.mode = "off"


STEP = BiasCorrection()
