"""Corrects the quantized layers of a network in execution order, each behind corrected predecessors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.prepared import set_mode
from harness.quantization.ptq.base import Batches
from harness.quantization.ptq.layers import Moments, quantized_layers
from harness.quantization.ptq.node_by_node import NodeByNode, Outputs, affordable, watch

Correct = Callable[[Node, Moments, Outputs], bool]
"""Gets a layer, the moments of its float output and its quantized outputs, and changes the layer's parameters.
It either changes the outputs to match, or returns True to have them computed again."""


def correct_in_order(prepared: GraphModule, batches: Batches, correct: Correct) -> list[str]:
    """Correct every quantized layer in place; notes for people. One pass: float first, then quantized layer by layer.

    The float activations are clipped to the quantizers' ranges. A range that cuts off a few large values would else
    count as a mean error of all the others, and the corrections would grow from layer to layer.
    """
    layers = quantized_layers(prepared)
    set_mode(prepared, "off")
    samples, note = affordable(prepared, batches)
    wanted = {layer: Moments() for layer in layers}

    def add(layer: Node, _arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        wanted[layer].update(layer, output)

    watch(prepared, lambda: iter(samples), layers, add, clip=True)
    set_mode(prepared, "quantize")
    run = NodeByNode(prepared, samples)

    def at_layer(layer: Node, outputs: Outputs) -> None:
        if correct(layer, wanted[layer], outputs):
            outputs[:] = run.again(layer)

    run.walk(at_layer, layers)
    return [] if note is None else [note]
