"""Target `onnxruntime`: ONNX Runtime on the CPU, the embedded default that needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harness.results import Layer, Variant
from harness.results.variant import OWN_TOOLKIT
from harness.targets.base import (
    HOST,
    Availability,
    BuildOptions,
    Engine,
    EngineGraph,
    Placement,
    PredictScript,
    Session,
    Target,
)
from harness.targets.onnxruntime.installed import installed_build

if TYPE_CHECKING:
    from harness.targets.base import Array
    from harness.targets.settings import TargetOptions

_REDUCED_WEIGHT_BITS = 7
"""Weights of 7 bits cannot overflow the 16-bit sums of CPUs without VNNI."""


class OnnxRuntimeOptions(BuildOptions):
    """Options of one ONNX Runtime session."""

    exact_products: bool = True
    """Ask for kernels whose sums cannot overflow. Without VNNI, x86 adds pairs of uint8 x int8 products in 16 bits,
    which saturates for 8-bit weights. The fast kernels of CPUs with VNNI are exact, and the option makes them 2.6
    times slower."""
    quantize_biases: bool = False
    """Let ONNX Runtime quantize biases by itself. It would then also run layers on integers that the scenario skips.
    The files of toolkits with a placement of their own are judged as their users would run them."""
    input_shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Sizes of inputs that the file leaves open beyond the batch, for which multiply-accumulates are counted."""


class OnnxRuntime(Target):
    """uint8 affine activations, int8 symmetric weights, Q/DQ around every op that has an integer kernel."""

    name: ClassVar[str] = "onnxruntime"
    options_type: ClassVar[type[BuildOptions]] = OnnxRuntimeOptions
    reads_wide_activations = True

    @property
    def modules(self) -> tuple[str, ...]:
        """ONNX Runtime itself."""
        return ("onnxruntime",)

    def availability(self) -> Availability:
        """Usable where the `onnxruntime` package is installed."""
        found = installed_build()
        if found is None:
            return Availability(False, "the package `onnxruntime` is not installed", "pip install onnxruntime")
        return Availability(True, f"{found}, CPU")

    def device_class(self, device: str | None) -> str:
        """The CPU of this machine."""
        return HOST

    def refusal(self, variant: Variant) -> str | None:
        """ONNX Runtime's CPU provider has no kernels for FP16 and BF16: they would run in FP32 after casts."""
        if variant.method in ("fp16", "bf16"):
            name = variant.method.upper()
            return f"ONNX Runtime has no {name} kernels for convolutions on this CPU; they would run in FP32"
        return None

    def is_deployable(self, variant: Variant) -> bool:
        """Whether integer kernels exist for the variant's bit widths; else it can only be simulated."""
        return variant.weight_bits in (None, 7, 8) and variant.activation_bits in (None, 8)

    def placement(self) -> Placement:
        """uint8 affine activations, int8 symmetric weights; placed by ONNX Runtime's integer kernels."""
        from harness.targets.onnxruntime.quantizer import FORMAT, OnnxRuntimeQuantizer

        return Placement(FORMAT, OnnxRuntimeQuantizer)

    @property
    def integer_biases(self) -> bool:
        """The last gemm runs on integers only with an int32 bias."""
        return True

    def build_options(
        self, variant: Variant, threads: int, settings: TargetOptions | None = None
    ) -> OnnxRuntimeOptions:
        """The optimized graph depends on the CPU's vector instructions."""
        from harness.machine.hardware import has_vnni, instruction_sets

        return OnnxRuntimeOptions(
            threads=threads,
            batch_size=variant.batch_size,
            machine=",".join(instruction_sets()),
            exact_products=not has_vnni() and (variant.weight_bits or 0) > _REDUCED_WEIGHT_BITS,
            quantize_biases=variant.toolkit not in (None, OWN_TOOLKIT) and not variant.skip,
        )

    def build(self, onnx_path: Path, directory: Path, options: BuildOptions) -> Engine:
        """Optimize the graph for this CPU and keep the result: the file is what executes."""
        from harness.targets.onnxruntime.session import build

        return build(onnx_path, directory, OnnxRuntimeOptions.model_validate(options.model_dump()))

    def with_streams(self, options: BuildOptions, streams: int) -> BuildOptions:
        """Every call computes in the thread that it comes from."""
        return options.model_copy(update={"threads": 1})

    def load_library(self) -> None:
        """ONNX Runtime and what the session's module imports beside it."""
        import harness.targets.onnxruntime.session  # noqa: F401

    def open(self, path: Path, options: BuildOptions) -> Session:
        """Load the optimized graph as it is."""
        from harness.targets.onnxruntime.session import OnnxRuntimeSession

        return OnnxRuntimeSession(path, OnnxRuntimeOptions.model_validate(options.model_dump()))

    def time_layers(self, path: Path, options: BuildOptions, batch: Array, runs: int) -> Sequence[Mapping[str, float]]:
        """From ONNX Runtime's profile of each node."""
        from harness.targets.onnxruntime.profile import time_layers

        return time_layers(path, options.model_dump(), batch, runs)

    def predict_script(self) -> PredictScript:
        """ONNX Runtime alone."""
        return PredictScript(Path(__file__).with_name("predict.py"), ("onnxruntime",))

    def inside(self, path: Path, options: BuildOptions) -> EngineGraph:
        """The optimized graph, every tensor of which can be handed out."""
        from harness.targets.onnxruntime.session import engine_graph

        return engine_graph(path, OnnxRuntimeOptions.model_validate(options.model_dump()))

    def audit(self, path: Path, onnx_path: Path) -> tuple[Layer, ...]:
        """What the build wrote beside the engine; else read the optimized graph."""
        from harness.targets.engine_record import EngineRecord, sha256
        from harness.targets.onnxruntime.audit import audit

        record = EngineRecord.load(path)
        if record is not None and record.sha256 == sha256(path):
            return record.layers
        return audit(path, onnx_path)


TARGET = OnnxRuntime()
