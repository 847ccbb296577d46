"""The installed TensorRT: what differs between `tensorrt` 10, 11 and `tensorrt_rtx` is here and nowhere else."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from typing import cast

from harness.errors import StageError, nearest
from harness.targets.tensorrt import api


@dataclass(frozen=True)
class Library:
    """One of the two libraries, by what it is called."""

    module: str
    """Import name."""
    distributions: tuple[str, ...]
    install: str
    names_capability: bool
    """Whether the builder takes the GPU generation as an option, so that building needs no GPU."""

    def version(self) -> str | None:
        """Version of the installed distribution; None when it cannot be imported."""
        if importlib.util.find_spec(self.module) is None:
            return None
        for distribution in self.distributions:
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def load(self) -> api.TensorRtModule:
        """The module; StageError when it cannot be imported."""
        try:
            return cast(api.TensorRtModule, importlib.import_module(self.module))
        except (ImportError, OSError) as error:
            raise StageError(f"{self.module} cannot be imported: {error}", fix=self.install) from error


TENSORRT = Library(
    module="tensorrt",
    distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    install="pip install tensorrt",
    names_capability=False,
)
TENSORRT_RTX = Library(
    module="tensorrt_rtx",
    distributions=("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
    install="pip install tensorrt-rtx-cu13",
    names_capability=True,
)
LIBRARIES = {library.module: library for library in (TENSORRT, TENSORRT_RTX)}


def _is_rtx(trt: api.TensorRtModule) -> bool:
    """By what only RTX has, not by its name: doubles and later packages may be called otherwise."""
    return hasattr(trt, "ComputeCapability")


def network_flags(trt: api.TensorRtModule) -> int:
    """Flags of `create_network`: types come from the ONNX file.

    The flag is 1 in TensorRT 10 and 0 in 11 and RTX, where networks are always strongly typed; so it is never written
    as a number.
    """
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def set_compute_capability(library: api.TensorRtModule, builder_config: api.BuilderConfig, name: str) -> None:
    """Build for this GPU generation; StageError when the library does not know it. RTX only."""
    if not _is_rtx(library):
        raise StageError(
            f"{library.__name__} builds for the GPU of this machine only, not for {name}",
            fix="leave the compute capability out, or use the target `tensorrt-rtx`",
        )
    trt, config = cast(api.TensorRtRtxModule, library), cast(api.RtxBuilderConfig, builder_config)
    known = [each for each in trt.ComputeCapability.__members__ if each.startswith("SM")]
    if name not in known:
        guess = nearest(name, known)
        raise StageError(
            f"{trt.__name__} {trt.__version__} cannot build for {name}",
            fix=f"did you mean {guess}?" if guess else f"use one of: {', '.join(known)}",
        )
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(trt.ComputeCapability.__members__[name], 0):
        raise StageError(f"{trt.__name__} refuses to build for {name}", fix=f"use one of: {', '.join(known)}")


def version_compatible_flags(trt: api.TensorRtModule) -> tuple[api.Value, ...]:
    """Flags of engines that later versions run, too.

    The engine then carries the lean runtime of its own version, without which a later version would have to be given
    that runtime. RTX has no lean runtime.
    """
    if _is_rtx(trt):
        return trt.BuilderFlag.VERSION_COMPATIBLE, trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME
    return (trt.BuilderFlag.VERSION_COMPATIBLE,)


def hardware_compatibility(trt: api.TensorRtModule, name: str) -> api.Value:
    """A member of `HardwareCompatibilityLevel`; StageError where the library has it not, or takes no notice of it."""
    if _is_rtx(trt):
        raise StageError(
            f"{trt.__name__} takes no notice of hardware compatibility",
            fix="leave the compute capability out: the engine then runs on SM80 and later",
        )
    level = getattr(trt.HardwareCompatibilityLevel, name.upper(), None)
    if level is None:
        raise StageError(
            f"{trt.__name__} {trt.__version__} has no hardware compatibility `{name}`",
            fix="use `ampere_plus`, or a later version",
        )
    return level


def new_context(library: api.TensorRtModule, engine: api.CudaEngine) -> api.Context:
    """An execution context; StageError where TensorRT gives none.

    RTX compiles kernels for the shapes in use before it runs them, not while it is timed.
    """
    context = _rtx_context(library, engine) if _is_rtx(library) else engine.create_execution_context()
    if context is None:
        raise StageError("TensorRT gives no execution context: most often the GPU's memory is full")
    return context


def _rtx_context(library: api.TensorRtModule, engine: api.CudaEngine) -> api.Context | None:
    trt, rtx_engine = cast(api.TensorRtRtxModule, library), cast(api.RtxEngine, engine)
    runtime_config = rtx_engine.create_runtime_config()
    runtime_config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
    runtime_config.set_runtime_cache(runtime_config.create_runtime_cache())
    return rtx_engine.create_execution_context(runtime_config)


def check_validity(library: api.TensorRtModule, loader: api.Runtime, plan: bytes, name: str) -> None:
    """Ask RTX whether it can run an engine file at all; the others say so when they load it."""
    if not hasattr(library, "EngineValidity"):
        return
    trt, runtime = cast(api.TensorRtRtxModule, library), cast(api.RtxRuntime, loader)
    validity, diagnostics = runtime.get_engine_validity(plan)
    if validity == trt.EngineValidity.INVALID:
        members = trt.EngineInvalidityDiagnostics.__members__.items()
        reasons = [each.lower().replace("_", " ") for each, value in members if int(diagnostics) & int(value)]
        raise StageError(
            f"{name} cannot run here: {', '.join(reasons) or 'it is invalid'}",
            fix="build it again on this machine, with this version and for this GPU",
        )
