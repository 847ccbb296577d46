"""The contract of a deployment target: what it computes in, how to build for it, run on it and look inside."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from harness.errors import StageError
from harness.results import Layer, Variant
from harness.targets.settings import TargetOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

    from harness.quantization.calibrators.base import Calibrator
    from harness.quantization.descriptors import HistogramMethod
    from harness.quantization.formats import TargetFormat
    from harness.quantization.placement.quantizer import PlacementQuantizer
    from harness.quantization.placement.rules import RuleSet

    Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used on this machine."""

    usable: bool
    detail: str
    """Version and device when usable, else the reason."""
    fix: str | None = None
    """The one command that makes it usable."""


AUDIT_SUFFIX = ".audit.json"
"""Suffix of the file beside an engine that describes its layers, where a target cannot read that from the engine."""
FloatType = Literal["fp32", "fp16"]
HOST = "CPU"
"""Device class of every target that runs on the CPU of this machine."""


class BuildOptions(BaseModel):
    """What a target needs to know to build an engine; part of the engine's cache key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = 1
    batch_size: int = 1
    machine: str = ""
    """What of this machine the engine depends on; the target fills it in."""


@dataclass(frozen=True)
class Engine:
    """What a target built from an ONNX file."""

    path: Path
    weight_bytes: int
    """Bytes of weights and biases as the engine holds them."""
    options: BuildOptions
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineGraph:
    """An engine that is an ONNX graph, which can be cut open at its tensors."""

    model: ModelProto
    open_session: Callable[[bytes], InferenceSession]
    """Executes a changed graph just as the engine is executed."""
    types: Mapping[str, int]
    """ONNX element type of every tensor."""
    names: Callable[[NodeProto], tuple[str, ...]]
    """Names under which the ONNX file that it was built from may know a node."""


class EngineTensors(ABC):
    """An engine whose inner tensors can be read, and not given from outside."""

    names: frozenset[str]
    """Tensors of the ONNX file that can be read."""
    batch_size: int
    """Samples of a batch, exactly: in which axis of an inner tensor they lie is not known."""

    @abstractmethod
    def values(self, batch: Array, names: Collection[str]) -> dict[str, Array]:
        """These tensors for one batch, as the engine computes them, in the layout of the ONNX file."""


class Placement(NamedTuple):
    """How a target wants networks quantized."""

    number_format: TargetFormat
    """At 8 bits."""
    quantizer: type[PlacementQuantizer]


class PredictScript(NamedTuple):
    """What `harness ship` copies, so that an engine runs without the harness."""

    path: Path
    """A module with `open_engine(path, options)`: from an engine file and the plain values of its options to a function
    from inputs (N, C, H, W) float32 to outputs (N, ...). It imports nothing but numpy and the engine's library."""
    distributions: tuple[str, ...]
    """What to install for it, beside numpy, as package indexes name it."""


class Session(ABC):
    """A loaded engine."""

    includes_transfers: ClassVar[bool] = False
    """Whether timed runs include copies between host and device."""

    @abstractmethod
    def run(self, batch: Array) -> Array:
        """Outputs (N, classes) for a batch (N, C, H, W) of float32."""

    @abstractmethod
    def time_runs(self, batch: Array, runs: int) -> list[float]:
        """Milliseconds of each of `runs` inferences of `batch`, one after the other."""

    def time_parts(self, batch: Array, runs: int) -> Mapping[str, list[float]]:
        """Milliseconds of the parts of `runs` inferences, by part; empty where they cannot be measured apart."""
        return {}

    def prepared(self, batch: Array) -> Callable[[], object]:
        """An inference of this batch as a call, with all that can be done beforehand done; its outputs are not read."""
        return lambda: self.run(batch)


class BoundSession(Session):
    """A session that times inferences by the clock, input and output in buffers that are bound beforehand."""

    _timed: tuple[Array, Callable[[], object]] | None = None
    """The last buffers are kept, so that a turn does not begin with new memory."""

    def time_runs(self, batch: Array, runs: int) -> list[float]:
        """Wall-clock milliseconds of each inference, which wraps no input and allocates no output, as in production."""
        if self._timed is None or self._timed[0] is not batch:
            self._timed = batch, self.prepared(batch)
        infer, clock = self._timed[1], time.perf_counter_ns
        stamps = [(clock(), infer(), clock()) for _ in range(runs)]
        return [(end - start) / 1e6 for start, _, end in stamps]


class Target(ABC):
    """A place where networks are deployed; one module in this folder that defines `TARGET`, or a plug-in."""

    name: ClassVar[str]
    options_type: ClassVar[type[BuildOptions]] = BuildOptions
    scenario_options: ClassVar[type[TargetOptions]] = TargetOptions
    """Section of this target under `targets` in a scenario."""
    needs_gpu: ClassVar[bool] = False
    """Whether engines run on an NVIDIA GPU only."""
    own_suffix: ClassVar[str | None] = None
    """Suffix of models in a format of its own that `build` takes beside ONNX, as toolkits write them for it. Beside
    such a model lies the FP32 ONNX file that it was made from, under the same name."""
    reads_wide_activations: ClassVar[bool] = False
    """Whether engines are built from files with 16-bit Q/DQ."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of libraries that must be importable, beside those that the harness itself needs."""
        return ()

    @abstractmethod
    def availability(self) -> Availability:
        """Whether this machine can use the target. Imports nothing heavy."""

    def options_from(self, values: Mapping[str, Any]) -> BuildOptions:
        """Options of this target from plain values."""
        return self.options_type.model_validate(values)

    def device_class(self, device: str | None) -> str:
        """What engines run on; times are compared where it is the same.

        Args:
            device: `Variant.compute_capability`: what the scenario names beside the target, or None.
        """
        return self.name if device is None else f"{self.name} {device}"

    def is_deployable(self, variant: Variant) -> bool:
        """Whether the engine has kernels for the variant's number format; else it can only be simulated."""
        return variant.weight_bits in (None, 8) and variant.activation_bits in (None, 8)

    def is_buildable(self, variant: Variant) -> bool:
        """Whether an engine is built for the variant's number format, though it may compute in float between Q/DQ."""
        reads_wide = variant.has_wide_activations and self.reads_wide_activations
        return self.is_deployable(variant.model_copy(update={"activation_bits": 8}) if reads_wide else variant)

    @abstractmethod
    def refusal(self, variant: Variant) -> str | None:
        """Why this target cannot deploy the variant, or None."""

    @abstractmethod
    def placement(self) -> Placement:
        """What quantized networks compute in here, and where quantizers are placed. Imports torch."""

    def number_format(self, weight_bits: int, activation_bits: int) -> TargetFormat:
        """The number format of a quantized variant with these widths."""
        return self.placement().number_format.with_bits(weight_bits, activation_bits)

    def quantizer(
        self,
        number_format: TargetFormat,
        *,
        per_channel: bool,
        weight_calibrator: Calibrator,
        rules: RuleSet | None = None,
        histogram: HistogramMethod | None = None,
    ) -> PlacementQuantizer:
        """The PT2E quantizer with this target's placement rules."""
        return self.placement().quantizer(
            number_format,
            per_channel=per_channel,
            weight_calibrator=weight_calibrator,
            rules=rules,
            histogram=histogram,
        )

    @property
    def integer_biases(self) -> bool:
        """Whether biases of integer layers are written as int32."""
        return False

    def float_type(self, variant: Variant, settings: TargetOptions) -> FloatType:
        """In what the parts that are not INT8 compute; `fp16` is written into the ONNX file before it is built."""
        return "fp32"

    @abstractmethod
    def build_options(self, variant: Variant, threads: int, settings: TargetOptions | None = None) -> BuildOptions:
        """Options for building this variant on this machine; `settings` are the scenario's."""

    def cannot_run(self, options: BuildOptions) -> str | None:
        """Why an engine with these options can be built but not run on this machine; None when it can."""
        return None

    def checked_batches(self, options: BuildOptions) -> tuple[int, ...]:
        """Batch sizes at which a built engine is run once before anything is measured; those that it was built for."""
        return (1, 3)

    @abstractmethod
    def build(self, onnx_path: Path, directory: Path, options: BuildOptions) -> Engine:
        """Build an engine in `directory`; StageError with the node and the fix when the ONNX cannot be built.

        Args:
            onnx_path: an ONNX file, or a model whose name ends in `own_suffix`.
            directory: where engine files go.
            options: of this target.
        """

    def as_written(self, path: Path) -> Callable[[Array], Array]:
        """A model of `own_suffix` as a function of a batch, computed as the file says: nothing is fused or rounded."""
        raise StageError(f"{self.name} has no format of its own: {path.name}")

    def rounds_floats(self, options: BuildOptions) -> bool:
        """Whether the engine computes an FP32 file in fewer bits."""
        return False

    def with_streams(self, options: BuildOptions, streams: int) -> BuildOptions | None:
        """Options for this many inferences side by side, called from as many threads; None where that is not possible.

        Each computes with one thread.
        """
        return None

    def load_library(self) -> None:
        """Import all that `open` needs, so that the memory of an engine can be separated from that of its library."""
        return

    @abstractmethod
    def open(self, path: Path, options: BuildOptions) -> Session:
        """Load an engine file that `build` wrote."""

    def time_layers(
        self, path: Path, options: BuildOptions, batch: Array, runs: int
    ) -> Sequence[Mapping[str, float]] | None:
        """Milliseconds of each executed layer, by `Layer.executed_as`, in each of `runs` inferences.

        From the engine's own profiler, in a session of its own; None where the engine does not tell.
        """
        return None

    def predict_script(self) -> PredictScript | None:
        """What runs a shipped engine; None where there is no such program."""
        return None

    def inside(self, path: Path, options: BuildOptions) -> EngineGraph | EngineTensors | None:
        """The tensors in the engine, to be read and, in a graph, replaced; None where it cannot be inspected."""
        return None

    @abstractmethod
    def audit(self, path: Path, onnx_path: Path) -> tuple[Layer, ...]:
        """The layers of the built engine as they execute."""


def refuse_wide_activations(variant: Variant, reads: str) -> str | None:
    """Why a target that reads Q/DQ of 8 bits alone has no rows with 16-bit activations; None for other rows."""
    if not variant.has_wide_activations:
        return None
    return f"{reads} no 16-bit Q/DQ: leave `activation_bits: {variant.activation_bits}` out for {variant.target}"


def refuse_bf16(variant: Variant) -> str | None:
    """Why a target that runs files in the precision that is written into them has no BF16 rows; None for other rows."""
    if variant.method != "bf16":
        return None
    return f"{variant.target} computes in the types of the ONNX file, and the harness writes no BF16 into files"
