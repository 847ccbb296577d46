"""Target `openvino`: Intel's OpenVINO, on any x86 or ARM CPU, and on Intel's GPUs and NPUs where it finds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from harness.fields import Count, Listed
from harness.results import Layer, Variant
from harness.targets.base import (
    HOST,
    Availability,
    BuildOptions,
    Engine,
    EngineTensors,
    Placement,
    PredictScript,
    Session,
    Target,
)
from harness.targets.openvino.devices import capabilities, device_names, refusal_of_device, version
from harness.targets.openvino.engine_file import Precision
from harness.targets.settings import TargetOptions

if TYPE_CHECKING:
    from harness.targets.base import Array

Device = Literal["CPU", "GPU", "NPU"]
_CPU = "CPU"
_REDUCED_WEIGHT_BITS = 7
"""Weights of 7 bits cannot overflow the 16-bit sums of CPUs without VNNI."""
_LEAVES_OUT = (
    "OpenVINO leaves 16-bit Q/DQ out, so that no engine of it computes this network: accuracy of the fake-quantized "
    "one only"
)
_PRECISIONS: dict[str, tuple[Precision, str]] = {
    "fp32": ("f32", "FP32"),
    "bf16": ("bf16", "BF16"),
    "fp16": ("f16", "FP16"),
}
"""By method: OpenVINO's precision hint, and its name for the capability of a device."""


class OpenVinoSettings(TargetOptions):
    """How networks run on the target `openvino`."""

    device: Listed[Device] = ("CPU",)
    """Where OpenVINO runs them, one row for each device: `CPU`, `GPU` (Intel's) or `NPU`. Rows of different devices are
    not compared with each other."""
    streams: Count = 1
    """Inferences that may run side by side; each has `threads` divided by `streams` threads."""

    @property
    def devices(self) -> tuple[str | None, ...]:
        """One row for each device; the CPU is not named."""
        return tuple(dict.fromkeys(None if device == _CPU else device for device in self.device)) or (None,)


class OpenVinoOptions(BuildOptions):
    """Options of one engine."""

    device: str = _CPU
    precision: Precision = "f32"
    """In what everything that is not INT8 computes. Always given: on CPUs with AMX, OpenVINO's default is BF16."""
    streams: int = 1
    integer_kernels: bool = True
    """False on x86 CPUs without 8-bit dot products for 8-bit weights: OpenVINO's integer kernels add pairs of
    uint8 x int8 products in 16 bits there, which saturates. The Q/DQ network then computes the same values in float."""
    has_wide_activations: bool = False
    """Whether the file quantizes activations to 16 bits."""
    input_shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Sizes of inputs that the file leaves open beyond the batch."""


class OpenVino(Target):
    """uint8 affine activations, int8 symmetric weights, Q where a value is computed that an integer kernel reads."""

    name: ClassVar[str] = "openvino"
    options_type: ClassVar[type[BuildOptions]] = OpenVinoOptions
    reads_wide_activations = True
    scenario_options: ClassVar[type[TargetOptions]] = OpenVinoSettings
    own_suffix: ClassVar[str | None] = ".xml"

    @property
    def modules(self) -> tuple[str, ...]:
        """OpenVINO itself."""
        return ("openvino",)

    def availability(self) -> Availability:
        """Usable where the `openvino` package is installed; it brings its CPU device."""
        found = version()
        if found is None:
            return Availability(False, "the package `openvino` is not installed", "pip install openvino")
        return Availability(True, f"openvino {found}; {', '.join(device_names()) or 'no device'}")

    def device_class(self, device: str | None) -> str:
        """The CPU of this machine, or a device that other targets cannot use."""
        return HOST if device in (None, _CPU) else super().device_class(device)

    def refusal(self, variant: Variant) -> str | None:
        """A device that OpenVINO does not find, or a precision that the device has no kernels for."""
        device = variant.compute_capability or _CPU
        missing, found = refusal_of_device(device), capabilities(device)
        if missing is not None or not found or variant.method not in _PRECISIONS:
            return missing
        _, capability = _PRECISIONS[variant.method]
        if capability in found:
            return None
        return (
            f"OpenVINO has no {capability} kernels for this {device}; it would run in another precision "
            f"(its own: {', '.join(found)})"
        )

    def is_deployable(self, variant: Variant) -> bool:
        """Whether integer kernels exist for the variant's bit widths; else it can only be simulated."""
        return variant.weight_bits in (None, 7, 8) and variant.activation_bits in (None, 8)

    def cannot_run(self, options: BuildOptions) -> str | None:
        """OpenVINO leaves 16-bit Q/DQ out: its outputs would be those of another network."""
        return _LEAVES_OUT if _narrowed(options).has_wide_activations else None

    def placement(self) -> Placement:
        """uint8 affine activations, int8 symmetric weights; placed as OpenVINO's transformations fuse them."""
        from harness.targets.openvino.quantizer import FORMAT, OpenVinoQuantizer

        return Placement(FORMAT, OpenVinoQuantizer)

    def rounds_floats(self, options: BuildOptions) -> bool:
        """BF16 and FP16 engines round what the FP32 file computes."""
        return _narrowed(options).precision != "f32"

    def build_options(self, variant: Variant, threads: int, settings: TargetOptions | None = None) -> OpenVinoOptions:
        """The scenario's options; kernels are chosen for this CPU when the engine is opened."""
        from harness.machine.hardware import has_vnni, instruction_sets

        device = variant.compute_capability or _CPU
        has_wide_weights = (variant.weight_bits or 8) > _REDUCED_WEIGHT_BITS  # of an undescribed file, too
        precision, capability = _PRECISIONS.get(variant.method, _PRECISIONS["fp32"])
        found = capabilities(device)
        return OpenVinoOptions(
            threads=threads,
            batch_size=variant.batch_size,
            machine=f"openvino {version()}, {','.join(instruction_sets())}",
            device=device,
            precision=precision if capability in found or not found else "f16",  # NPUs have no FP32
            streams=settings.streams if isinstance(settings, OpenVinoSettings) else 1,
            integer_kernels=device != _CPU or not has_wide_weights or has_vnni(),
            has_wide_activations=variant.has_wide_activations,
        )

    def build(self, onnx_path: Path, directory: Path, options: BuildOptions) -> Engine:
        """Convert the file to OpenVINO's IR, compile it once, and write down what it executes."""
        from harness.targets.openvino.session import build

        return build(onnx_path, directory, _narrowed(options))

    def as_written(self, path: Path) -> Callable[[Array], Array]:
        """An IR in FP32, without integer kernels."""
        from harness.targets.openvino.own_model import as_written

        return as_written(path)

    def with_streams(self, options: BuildOptions, streams: int) -> BuildOptions | None:
        """Streams are OpenVINO's own; on other devices than CPUs they are not threads."""
        if _narrowed(options).device != _CPU:
            return None
        return options.model_copy(update={"threads": streams, "streams": streams})

    def load_library(self) -> None:
        """OpenVINO and what the session's module imports beside it."""
        import harness.targets.openvino.session  # noqa: F401

    def open(self, path: Path, options: BuildOptions) -> Session:
        """Compile the IR for this machine."""
        from harness.targets.openvino.session import OpenVinoSession

        return OpenVinoSession(path, _narrowed(options))

    def inside(self, path: Path, options: BuildOptions) -> EngineTensors:
        """Every tensor that the IR has of the ONNX file can be read."""
        from harness.targets.openvino.inner_tensors import OpenVinoTensors

        return OpenVinoTensors(path, _narrowed(options))

    def time_layers(self, path: Path, options: BuildOptions, batch: Array, runs: int) -> Sequence[Mapping[str, float]]:
        """From OpenVINO's performance counters."""
        from harness.targets.openvino.session import time_layers

        return time_layers(path, _narrowed(options), batch, runs)

    def predict_script(self) -> PredictScript:
        """OpenVINO alone."""
        return PredictScript(Path(__file__).with_name("predict.py"), ("openvino",))

    def audit(self, path: Path, onnx_path: Path) -> tuple[Layer, ...]:
        """What the build wrote beside the engine; else compile it with the options that it holds."""
        from harness.targets.engine_record import EngineRecord, sha256
        from harness.targets.openvino.session import audit_engine

        record = EngineRecord.load(path)
        if record is not None and record.sha256 == sha256(path):
            return record.layers
        return audit_engine(path, onnx_path)


def _narrowed(options: BuildOptions) -> OpenVinoOptions:
    return OpenVinoOptions.model_validate(options.model_dump())


TARGET = OpenVino()
