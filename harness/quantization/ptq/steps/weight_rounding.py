"""`weight_rounding`: weights rounded so that the errors of a layer's roundings cancel on its own inputs."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch.fx import GraphModule, Node

from harness.quantization.capture.operators import LINEAR
from harness.quantization.prepared import set_mode
from harness.quantization.ptq.base import Batches, CalibratedStep
from harness.quantization.ptq.layers import (
    ConvolutionArguments,
    convolution_arguments,
    quantized_layers,
    shares_weights,
    weight_of,
    weight_quantizer_of,
)
from harness.quantization.ptq.node_by_node import NodeByNode, Outputs, affordable

POSITIONS = 1 << 15
"""About how many places of all images the second moments of a convolution's inputs are taken from."""
DAMPING = 0.01
"""Share of the mean second moment that is added to each, so that inputs which never vary have an inverse."""
BLOCK = 64
"""Columns that are rounded before their errors reach the columns behind the block."""


class WeightRounding(CalibratedStep):
    """Rounds a layer's weights one input after the other; what a rounding does to the outputs, later ones take back.

    With second moments H = E[x xᵀ] of the layer's inputs, the error of weight j, divided by U_jj, is subtracted from
    the weights behind it in proportion to row j of U, where UᵀU = H⁻¹. Integer grid and scales stay, so size and speed
    do, too. Layers are visited in execution order, each behind rounded predecessors.

    Source: Frantar et al., "GPTQ", arXiv:2210.17323, algorithm 1, with inputs in the order of falling second moment;
    Frantar and Alistarh, "Optimal Brain Compression", arXiv:2208.11580.
    """

    name: ClassVar[str] = "weight_rounding"

    def apply(self, prepared: GraphModule, batches: Batches) -> list[str]:
        """Notes when not all samples fit into memory, and about layers that are rounded to nearest."""
        layers = quantized_layers(prepared)
        left_out = [layer for layer in layers if not _can_round(prepared, layer)]
        samples, note = affordable(prepared, batches)
        set_mode(prepared, "quantize")
        run = NodeByNode(prepared, samples)

        def at_layer(layer: Node, outputs: Outputs) -> None:
            source = layer.args[0]
            assert isinstance(source, Node)
            _round(prepared, layer, run.env[source])
            outputs[:] = run.again(layer)

        run.walk(at_layer, [layer for layer in layers if layer not in left_out])
        notes = [] if note is None else [f"{self.name} {note}"]
        if left_out:
            names = ", ".join(f"`{layer.name}`" for layer in left_out)
            notes.append(f"{self.name} left {names} rounded to nearest: shared weights, or not two-dimensional")
        return notes


def _can_round(prepared: GraphModule, layer: Node) -> bool:
    is_known = layer.target in LINEAR or convolution_arguments(layer, weight_of(prepared, layer)) is not None
    return is_known and not shares_weights(prepared, layer)


def _round(prepared: GraphModule, layer: Node, inputs: list[torch.Tensor]) -> None:
    """Round one layer's weights in place, and keep their scales from then on."""
    weight, quantizer = weight_of(prepared, layer), weight_quantizer_of(prepared, layer)
    quantizer.fit(weight)
    scale = quantizer.scale.detach().double()
    arguments = convolution_arguments(layer, weight)
    groups = 1 if arguments is None else arguments.groups
    rows = weight.detach().double().reshape(groups, weight.shape[0] // groups, -1)
    scales = (scale if scale.ndim else scale.expand(weight.shape[0])).reshape(groups, -1)
    rounded = round_with_feedback(
        rows, _second_moments(inputs, weight, arguments), scales, quantizer.quant_min, quantizer.quant_max
    )
    weight.data.copy_(rounded.reshape(weight.shape))
    quantizer.fix()


def _second_moments(
    inputs: list[torch.Tensor], weight: torch.Tensor, arguments: ConvolutionArguments | None
) -> torch.Tensor:
    """Of what each output channel reads, by group: shape (groups, inputs, inputs), float64."""
    # The same places of every image, whatever batch it is in.
    per_image = max(1, POSITIONS // sum(map(len, inputs)))
    groups = 1 if arguments is None else arguments.groups
    width = weight[0].numel()
    total, count = torch.zeros(groups, width, width, dtype=torch.float64), 0
    for batch in inputs:
        for image in torch.split(batch, 1):
            read = _read_by_linear(image) if arguments is None else read_by_convolution(image, weight, arguments)
            read = read[:, :, :: max(1, read.shape[-1] // per_image)].double()
            total += read @ read.mT
            count += read.shape[-1]
    return total / count


def _read_by_linear(image: torch.Tensor) -> torch.Tensor:
    """Shape (1, inputs, places)."""
    return image.flatten(0, -2).mT.unsqueeze(0)


def read_by_convolution(image: torch.Tensor, weight: torch.Tensor, arguments: ConvolutionArguments) -> torch.Tensor:
    """Shape (groups, inputs of a group, places)."""
    rows, columns = arguments.padding
    size = (weight.shape[2], weight.shape[3])
    patches = F.unfold(F.pad(image, (*columns, *rows)), size, dilation=arguments.dilation, stride=arguments.stride)
    return patches.reshape(arguments.groups, -1, patches.shape[-1])


def round_with_feedback(
    rows: torch.Tensor, moments: torch.Tensor, scales: torch.Tensor, lowest: int, highest: int
) -> torch.Tensor:
    """Weights on the grid of `scales`, shape (groups, outputs, inputs); `scales` has shape (groups, outputs).

    `moments` are the second moments of the inputs, shape (groups, inputs, inputs), float64.
    """
    order = moments.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    columns = order[:, None, :].expand_as(rows)
    by_rows = torch.gather(moments, 1, order[:, :, None].expand_as(moments))
    sorted_moments = torch.gather(by_rows, 2, order[:, None, :].expand_as(by_rows))
    factor = _feedback(sorted_moments)
    left, done = torch.gather(rows, 2, columns).clone(), torch.empty_like(rows)
    for start in range(0, rows.shape[-1], BLOCK):
        end = min(start + BLOCK, rows.shape[-1])
        errors = torch.empty_like(left[:, :, start:end])
        for column in range(start, end):
            value = left[:, :, column]
            done[:, :, column] = torch.clamp(torch.round(value / scales), lowest, highest) * scales
            error = (value - done[:, :, column]) / factor[:, column, column, None]
            left[:, :, column:end] -= error[:, :, None] * factor[:, None, column, column:end]
            errors[:, :, column - start] = error
        left[:, :, end:] -= errors @ factor[:, start:end, end:]
    return torch.zeros_like(rows).scatter_(2, columns, done)


def _feedback(moments: torch.Tensor) -> torch.Tensor:
    """Upper U with UᵀU the inverse of the damped second moments."""
    mean = moments.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(torch.float32).tiny)
    damped = moments + DAMPING * mean[:, None, None] * torch.eye(moments.shape[-1], dtype=moments.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


STEP = WeightRounding()
