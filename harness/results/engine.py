"""What the built engine executes."""

from __future__ import annotations

from harness.results.base import Record


class Layer(Record):
    """One layer of the built engine as it really executes."""

    name: str
    op: str
    """Operator in the engine, for instance `QLinearConv`."""
    input_type: str
    weight_type: str | None
    output_type: str
    macs: int
    """Multiply-accumulates for one sample; 0 for ops that have none."""
    int8: bool
    reason: str | None = None
    """Why it runs in float; None for integer layers, and for the conversions between the two."""
    provider: str | None = None
    """ONNX Runtime's execution provider that ran it, where more than one may: `CUDA` or `CPU`."""


class Coverage(Record):
    """How much of the engine executes in INT8, from the audit."""

    int8_macs: float
    """Share of conv/gemm MACs that run as integer ops."""
    int8_layers: str
    """`done/all` over conv and gemm layers."""
    layers: tuple[Layer, ...]
