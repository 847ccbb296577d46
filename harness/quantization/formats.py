"""Number formats of quantized tensors, as a deployment target dictates them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

BYTE = 8
"""Bits of the widest integers that engines multiply."""


@dataclass(frozen=True)
class IntegerFormat:
    """An integer format of at most 8 bits, or of 16."""

    bits: int
    signed: bool
    symmetric: bool
    """Zero point fixed: 0 when signed."""
    narrow: bool = False
    """Leave the most negative value out, so that the range is symmetric: -127 … 127."""

    @property
    def quant_min(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def quant_max(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def dtype(self) -> torch.dtype:
        """Storage type."""
        if self.bits > BYTE:
            return torch.int16 if self.signed else torch.uint16
        return torch.int8 if self.signed else torch.uint8

    def levels(self, minimum: float) -> int:
        """Non-negative steps for |x| of a tensor with this minimum: 128 for int8, 256 for uint8 after a ReLU."""
        whole_range = not self.symmetric and minimum >= 0.0
        return 1 << self.bits if whole_range else 1 << (self.bits - 1)


@dataclass(frozen=True)
class TargetFormat:
    """What a target computes in: activations are quantized per tensor, weights per tensor or per output channel."""

    name: str
    activations: IntegerFormat
    weights: IntegerFormat

    def with_bits(self, weight_bits: int, activation_bits: int) -> TargetFormat:
        """The same kind of format with other widths."""
        return TargetFormat(
            name=self.name,
            activations=replace(self.activations, bits=activation_bits),
            weights=replace(self.weights, bits=weight_bits),
        )
