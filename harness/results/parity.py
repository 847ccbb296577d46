"""Where on the way from the network to the engine results change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.results.base import Record
from harness.results.paired import PairedComparison

Representation = Literal["torch_fp32", "onnx_fp32", "torch_quantized", "onnx_quantized", "onnx_fp16", "engine"]
"""What is compared on the way from the eager network to the engine, in this order."""
LayerStep = Literal["torch_quantized → onnx_quantized", "onnx_quantized → engine"]


class Agreement(Record):
    """How alike two stages of one variant are on the same samples."""

    top1_agreement: float
    max_abs_error: float
    sqnr_db: float | None
    """Signal-to-quantization-noise ratio; None when the outputs are identical, minus infinity when one side has NaN or
    infinity where the other has not."""
    n: int


class ParityStep(Agreement):
    """One step on the way from the eager network to the engine: what it changes on the same samples."""

    start: Representation
    end: Representation
    comparison: PairedComparison | None = None
    """Comparison of top-1 after the step with top-1 before it; None without labels. Interval and adjusted p-value are
    corrected for the number of steps (Bonferroni), so that `worse` is proven, however small, for the chain at once."""

    @property
    def top1(self) -> float | None:
        """After the step."""
        return None if self.comparison is None else self.comparison.value

    @property
    def drop(self) -> float | None:
        """Top-1 before the step minus top-1 after it (positive: the step lost)."""
        return None if self.comparison is None else self.comparison.loss

    @property
    def loses(self) -> bool:
        """Whether a loss is proven."""
        return self.comparison is not None and self.comparison.verdict == "worse"


class LayerParity(Record):
    """One tensor that two neighbouring representations compute, each from the same inputs."""

    step: LayerStep
    layer: str
    """Node that computes it, named after its module; `input` for the quantizer of the network's input."""
    op: str
    tensor: str
    """Name in the Q/DQ ONNX file."""
    kind: Literal["quantized", "float"]
    """`quantized`: compared as integers. `float`: before any quantizer."""
    sqnr_db: float | None
    """SQNR of this layer's own error; None when there is none, minus infinity when it has NaN or infinity."""
    accumulated_sqnr_db: float | None
    """With the errors of all layers before it."""
    largest_steps: float
    """Largest own error, in steps of the quantizer; for floats a step is 1/127 of the channel's largest value."""
    noise_steps2: float
    """Mean squared own error of the worst channel, in squared steps; rounding itself has 1/12."""
    is_fault: bool
    """More than two correct roundings of the same numbers can differ by."""
    faulty_channels: tuple[int, ...] = ()
    """The first few."""
    n_faulty_channels: int = 0
    n_channels: int


CheckedStep = Literal[
    "eager → captured",
    "captured → prepared",
    "captured → ONNX",
    "fake-quantized → training graph",
    "training graph → fake-quantized",
    "fake-quantized → Q/DQ ONNX",
    "toolkit → Q/DQ ONNX",
    "toolkit → model of the target",
    "ONNX → ONNX FP16",
    "ONNX → engine",
    "model of the target → engine",
]


class StepCheck(Record):
    """One step that was checked in numbers on a few samples, and passed."""

    step: CheckedStep
    sqnr_db: float | None
    """SQNR of the outputs, at the worse of two batch sizes; None where they are identical."""
    limit_db: float | None = None
    """None where layers are judged instead of outputs, or where quantizing may change anything."""
    layers: int | None = None
    """Tensors that were compared, each from the same inputs, where layers are judged."""


class Parity(Record):
    """Where on the way from the eager network to the engine results change."""

    torch_vs_onnx: Agreement | None = None
    """From the (fake-quantized) torch network to its ONNX file."""
    onnx_vs_engine: Agreement | None = None
    torch_vs_engine: Agreement | None = None
    """From the (fake-quantized) torch network straight to the engine, on all test samples."""
    steps: tuple[ParityStep, ...] = ()
    """In order, on the first `measurement.parity_samples` test samples."""
    confidence: float | None = None
    """Confidence of the verdicts on all steps together."""
    lossy_step: str | None = None
    """The step with the largest proven loss of accuracy, `start → end`; None where none is proven."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Links that the chain of this row could not have, with the reason; `layers` where they could not be compared."""
    layers: tuple[LayerParity, ...] = ()
    """Only with `measurement.parity: layers`."""
    layer_samples: int | None = None
