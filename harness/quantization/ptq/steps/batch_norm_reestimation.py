"""`batch_norm_reestimation`: mean and variance behind each former batch norm as in the FP32 network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BATCH_NORMS
from harness.quantization.ptq.base import Batches, CalibratedStep
from harness.quantization.ptq.layers import (
    Moments,
    bias_of,
    shares_weights,
    weight_of,
    weight_path,
    weight_quantizer_of,
)
from harness.quantization.ptq.node_by_node import Outputs
from harness.quantization.ptq.sequential import correct_in_order

LARGEST_FACTOR = 2.0
"""Largest factor for the weights of one channel. Near-dead channels have hardly any variance to compare."""


class BatchNormReestimation(CalibratedStep):
    """Gives the quantized output of each formerly batch-normed layer the FP32 output's mean and variance per channel.

    With m, s the FP32 mean and standard deviation and m', s' the quantized ones, y' becomes (y' - m') s / s' + m: what
    a batch norm with re-estimated statistics computes. It is absorbed: w' = w s / s', b' = (b - m') s / s' + m.
    In execution order, so that each layer is re-estimated behind re-estimated predecessors.

    Source: section 5.2 of Sun et al., "Hybrid 8-bit Floating Point Training and Inference", NeurIPS 2019, and
    "batch-norm re-tuning" in Nagel et al., "A White Paper on Neural Network Quantization", arXiv:2106.08295.
    """

    name: ClassVar[str] = "batch_norm_reestimation"

    def apply(self, prepared: GraphModule, batches: Batches) -> list[str]:
        """A note when not all samples fit into memory."""

        def renormalise(layer: Node, wanted: Moments, outputs: Outputs) -> bool:
            if weight_path(layer) not in prepared.meta.get(BATCH_NORMS, {}) or shares_weights(prepared, layer):
                return False  # what makes one call's outputs right would make another's wrong
            found = Moments()
            for output in outputs:
                found.update(layer, output)
            weight, bias = weight_of(prepared, layer), bias_of(prepared, layer)
            assert bias is not None
            factor = _factor(wanted.std, found.std)
            weight.data *= factor.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))
            weight_quantizer_of(prepared, layer).follow(factor)
            bias.data.copy_((bias.double() - found.mean) * factor + wanted.mean)
            return True

        return [f"{self.name} {note}" for note in correct_in_order(prepared, batches, renormalise)]


def _factor(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Standard deviations' ratio, within bounds; 1 where one of them is 0."""
    factor = torch.where((wanted > 0) & (found > 0), wanted / found, torch.ones_like(wanted))
    return factor.clamp(1 / LARGEST_FACTOR, LARGEST_FACTOR)


STEP = BatchNormReestimation()
