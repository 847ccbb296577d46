"""What the built engine executes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.results.base import Record

_SPELLINGS = {
    "FP32": {"float", "float32", "fp32", "f32"},
    "FP16": {"float16", "half", "fp16", "f16"},
    "BF16": {"bfloat16", "bf16"},
    "TF32": {"tf32"},
    "INT8": {"int8", "uint8"},
}
"""Precisions, as libraries write them."""
_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}


def precision_name(spelling: str) -> str | None:
    """`FP32`, `FP16`, `BF16`, `TF32` or `INT8`, however a library writes it; None for anything else."""
    return _NAMES.get(spelling.lower())


class Deployment(Record):
    """What opening the engine elsewhere takes."""

    options: dict[str, Any] = Field(default_factory=dict)
    """That the engine was built and opened with."""
    script: str | None = None
    """Path relative to the run folder: the Python file that opens and runs the engine without the harness; None where
    the target has none."""
    requirements: tuple[str, ...] = ()
    """What the script, and reading the samples, needs beside numpy, with the versions of the run."""


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
    executed_as: str | None = None
    """Name of the layer in the built engine, under which its profiler tells the time; None where it has none."""
    time_ms: float | None = None
    """Time for one inference of the variant's batch, under the engine's own profiler, which slows it; None where the
    engine does not tell."""
    provider: str | None = None
    """ONNX Runtime's execution provider that ran it, where more than one may: `CUDA` or `CPU`."""

    @property
    def precision(self) -> str | None:
        """What it multiplies in: `FP32`, `FP16`, `BF16`, `TF32` or `INT8`.

        None for layers that do not multiply, and where the audit does not know.
        """
        if self.weight_type is None:
            return None
        return "INT8" if self.int8 else precision_name(self.weight_type)


class Coverage(Record):
    """How much of the engine executes in INT8, from the audit."""

    int8_macs: float
    """Share of conv/gemm MACs that run as integer ops."""
    int8_layers: str
    """`done/all` over conv and gemm layers."""
    layers: tuple[Layer, ...]
