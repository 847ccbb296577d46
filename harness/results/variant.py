"""One variant of the matrix."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from harness.results.base import QUANTIZING_METHODS, BatchNormMode, Method, Record

OWN_TOOLKIT = "harness"
"""The toolkit of the harness itself: its placement and calibrators, PTQ and QAT."""
_EARLIER_NAME = "torchao"


def current_toolkit_name(name: str | None) -> str | None:
    """The harness's own toolkit was called `torchao`, after the library that it builds on."""
    return OWN_TOOLKIT if name == _EARLIER_NAME else name


ToolkitName = Annotated[str | None, AfterValidator(current_toolkit_name)]


class Variant(Record):
    """One combination of the matrix."""

    id: str
    """Readable, unique within the run, safe as a file name."""
    model: str
    method: Method
    toolkit: ToolkitName = None
    """What quantized it (`harness`, `onnxruntime`, …); None for methods that quantize nothing."""
    calibrator: str | None = None
    percentile: float | None = None
    """Only for the `percentile` calibrator, in percent."""
    per_channel: bool | None = None
    """Granularity of weight scales; None for methods that quantize nothing."""
    weight_bits: int | None = None
    activation_bits: int | None = None
    skip: tuple[str, ...] = ()
    """Module name patterns that are left unquantized."""
    ptq_steps: tuple[str, ...] = ()
    """What PTQ does beside choosing ranges, in order; QAT starts from its result."""
    learn_amax: bool | None = None
    """Whether QAT trained the ranges; None for other methods, as the next two."""
    batch_norm: BatchNormMode | None = None
    """Batch norm during QAT."""
    qat_seed: int | None = None
    """Seed of QAT; None is the scenario's."""
    target: str
    compute_capability: str | None = None
    """GPU generation that the engine is built for, for instance `SM86`, or OpenVINO's device; None where the scenario
    names none."""
    batch_size: int

    @property
    def place(self) -> str:
        """Where it is deployed: the target and, where one is named, the GPU generation."""
        return self.target if self.compute_capability is None else f"{self.target} for {self.compute_capability}"

    @property
    def has_wide_activations(self) -> bool:
        """Whether its activations have more bits than the integers that engines multiply."""
        return (self.activation_bits or 8) > 8

    @property
    def group(self) -> tuple[str, str, int]:
        """Model, place and batch size: what rows that are judged against one another have in common."""
        return self.model, self.place, self.batch_size

    @property
    def is_quantized(self) -> bool:
        """Whether its method quantizes; `fp32`, `fp16` and `bf16` do not."""
        return self.method in QUANTIZING_METHODS

    def is_fp32_of(self, other: Variant) -> bool:
        """Whether this is the FP32 row that `other` is judged against: of the same model, place and batch size."""
        return self.method == "fp32" and self.group == other.group
