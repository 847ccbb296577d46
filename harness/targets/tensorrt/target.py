"""What the targets `tensorrt` and `tensorrt-rtx` have in common: nearly everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.results import Layer, Variant
from harness.targets.base import (
    Availability,
    Engine,
    FloatType,
    Placement,
    Session,
    Target,
    refuse_bf16,
    refuse_wide_activations,
)
from harness.targets.settings import TargetOptions
from harness.targets.tensorrt.binding import Library
from harness.targets.tensorrt.gpu import find_gpu
from harness.targets.tensorrt.options import TensorRtBuildOptions, TensorRtSettings

if TYPE_CHECKING:
    from harness.targets.tensorrt.builder import TensorRtBuildReply

_SCENARIO_ONLY = {"threads", "high_precision", "compute_capabilities", "batch_profiles"}


class TensorRtTarget(Target):
    """int8 symmetric activations and weights, explicit Q/DQ, strongly typed: the same for TensorRT 10, 11 and RTX."""

    needs_gpu: ClassVar[bool] = True
    library: ClassVar[Library]
    options_type = TensorRtBuildOptions
    scenario_options: ClassVar[type[TensorRtSettings]] = TensorRtSettings

    @property
    def modules(self) -> tuple[str, ...]:
        """The library's Python bindings."""
        return (self.library.module,)

    def availability(self) -> Availability:
        """Usable where an engine can be built, which `tensorrt` needs a GPU for."""
        version = self.library.version()
        if version is None:
            return Availability(False, f"the package `{self.library.module}` is not installed", self.library.install)
        gpu = find_gpu()
        if gpu is None and not self.library.names_capability:
            return Availability(
                False,
                "TensorRT builds engines on the GPU that they run on, and there is none here",
                "use a machine with an NVIDIA GPU, or the target `tensorrt-rtx`, which builds without one",
            )
        where = "builds only, no NVIDIA GPU to run on" if gpu is None else f"{gpu.name}, {gpu.compute_capability}"
        return Availability(True, f"{self.library.module} {version}; {where}")

    def refusal(self, variant: Variant) -> str | None:
        """FP32, FP16 and INT8 all have kernels; BF16 is not written into files, and 16-bit Q/DQ cannot be read."""
        return refuse_bf16(variant) or refuse_wide_activations(variant, "TensorRT reads")

    def placement(self) -> Placement:
        """int8 symmetric activations and weights; placed by TensorRT's rules for explicit quantization."""
        from harness.targets.tensorrt.quantizer import FORMAT, TensorRTQuantizer

        return Placement(FORMAT, TensorRTQuantizer)

    def float_type(self, variant: Variant, settings: TargetOptions) -> FloatType:
        """FP16 for `method: fp16`, and for quantized variants unless the scenario says FP32."""
        if variant.method == "fp16":
            return "fp16"
        is_quantized = variant.is_quantized
        return settings.high_precision if is_quantized and isinstance(settings, TensorRtSettings) else "fp32"

    def build_options(
        self, variant: Variant, threads: int, settings: TargetOptions | None = None
    ) -> TensorRtBuildOptions:
        """The scenario's options; without a profile of its own a row gets one for its batch size."""
        chosen = settings if isinstance(settings, TensorRtSettings) else self.scenario_options()
        shared = chosen.model_dump(exclude=_SCENARIO_ONLY)
        size = variant.batch_size
        return TensorRtBuildOptions(
            **shared,
            threads=threads,
            batch_size=size,
            machine=self._machine(),
            compute_capability=variant.compute_capability,
            expects_int8=variant.is_quantized,
            batch_profiles=chosen.batch_profiles or ((1, size, size),),
        )

    def _machine(self) -> str:
        gpu = None if self.library.names_capability else find_gpu()
        return f"{self.library.module} {self.library.version()}" + (f" on {gpu.name}" if gpu else "")

    def cannot_run(self, options: Any) -> str | None:
        """A GPU of the generation that the engine was built for is needed."""
        if options.strip_weights:
            return (
                "it was built without weights (`strip_weights`) and has not been refitted: no accuracy and no latency"
            )
        gpu = find_gpu()
        wanted = options.compute_capability
        if gpu is None:
            built_for = f" (built for {wanted})" if wanted else ""
            return f"no NVIDIA GPU here to run the engine on{built_for}: no accuracy and no latency"
        if wanted is not None and wanted != gpu.compute_capability:
            return f"built for {wanted}, but the GPU here is {gpu.compute_capability}: no accuracy and no latency"
        return None

    def checked_batches(self, options: Any) -> tuple[int, ...]:
        """Not fewer samples than the smallest profile takes; what is more than the largest is split."""
        least = min(low for low, _, _ in options.batch_profiles) if options.batch_profiles else 1
        return max(1, least), max(3, least)

    def build(self, onnx_path: Path, directory: Path, options: Any) -> Engine:
        """Check the file, build in a new process, and write the audit beside the engine."""
        from harness.targets.engine_record import EngineRecord, sha256
        from harness.targets.tensorrt.audit import audit, weight_bytes

        engine_path = directory / "model.engine"
        reply, input_shapes = self._reply(onnx_path, engine_path, options)
        record = EngineRecord(
            builder=f"{self.library.module} {reply.version}",
            target=self.name,
            input_shapes=input_shapes,
            compute_capability=options.compute_capability,
            sha256=sha256(engine_path),
            engine_layers=reply.layers,
            warnings=reply.warnings,
            layers=audit(
                reply.layers,
                onnx_path,
                compute_capability=options.compute_capability,
                input_shapes=input_shapes,
            ),
        )
        record.save(engine_path)
        return Engine(engine_path, weight_bytes(reply.layers), options)

    def _reply(
        self, onnx_path: Path, engine_path: Path, options: TensorRtBuildOptions
    ) -> tuple[TensorRtBuildReply, dict[str, tuple[int, ...]]]:
        """What became of the build, and the sizes of inputs that it is best at."""
        from tempfile import TemporaryDirectory

        import onnx

        from harness.targets.tensorrt.builder import TensorRtBuildRequest
        from harness.targets.tensorrt.checks import load_checked, profiles
        from harness.targets.tensorrt.process import build_in_new_process

        model = load_checked(onnx_path, options)
        with TemporaryDirectory(prefix="quant-harness-onnx-") as folder:
            # A copy, because nodes without a name got one. Its name is what error messages call the file.
            copy = Path(folder) / onnx_path.name
            onnx.save(model, copy)
            request = TensorRtBuildRequest(
                module=self.library.module,
                onnx_path=copy,
                engine_path=engine_path.absolute(),
                options=options,
                profiles=profiles(model, options, onnx_path.name),
            )
            reply = build_in_new_process(request)
        best = request.profiles[0] if request.profiles else {}
        return reply, {name: sizes.opt for name, sizes in best.items()}

    def load_library(self) -> None:
        """TensorRT's own module; memory on the GPU is counted by process, with the CUDA context in it."""
        self.library.load()

    def open(self, path: Path, options: Any) -> Session:
        """Check an engine, and load it on this machine's GPU."""
        from harness.targets.tensorrt.engine_file import check_engine_file
        from harness.targets.tensorrt.session import open_session

        trt = self.library.load()
        library = f"{self.library.module} {trt.__version__}"
        check_engine_file(path, library, find_gpu(), any_version=options.version_compatible)
        return open_session(path, trt, options)

    def audit(self, path: Path, onnx_path: Path) -> tuple[Layer, ...]:
        """What the build wrote beside the engine; else what the inspector says of it, on a GPU."""
        from harness.targets.engine_record import EngineRecord
        from harness.targets.tensorrt.audit import audit
        from harness.targets.tensorrt.engine_file import load_engine
        from harness.targets.tensorrt.inspector import inspected_layers

        record = EngineRecord.load(path)
        if record is not None:
            return audit(
                record.engine_layers,
                onnx_path,
                compute_capability=record.compute_capability,
                input_shapes=record.input_shapes,
            )
        trt = self.library.load()
        return audit(inspected_layers(load_engine(path, trt), trt), onnx_path)
