"""What users may say about TensorRT engines, in a scenario and on the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from harness.fields import Count, Listed, OneOf, Text, Unit
from harness.targets.base import BuildOptions, FloatType
from harness.targets.settings import TargetOptions

RTX_CAPABILITIES = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")
"""GPU generations that TensorRT-RTX 1.7 builds for without such a GPU at hand."""

Level = Annotated[int, Ge(0), Le(5)]
Shape = tuple[int, ...]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _in_order(sizes: tuple[int, int, int]) -> tuple[int, int, int]:
    least, best, most = sizes
    if least <= best <= most:
        return sizes
    raise PydanticCustomError(
        "profile", "min {least}, opt {best} and max {most} are not in order", dict(zip(_SIZES, sizes, strict=True))
    )


_SIZES = ("least", "best", "most")
BatchRange = Annotated[tuple[Count, Count, Count], BeforeValidator(_as_tuple), AfterValidator(_in_order)]
HardwareCompatibility = Literal["none", "ampere_plus", "same_compute_capability"]


class TensorRtSettings(TargetOptions):
    """How engines of the target `tensorrt` are built."""

    high_precision: FloatType = "fp16"
    """In what PTQ and QAT engines compute the parts that are not INT8. `fp16` is what `trtexec --int8 --fp16` did."""
    workspace_mib: Annotated[Count, Unit("MiB")] | None = None
    """GPU memory that one layer may use while it runs. Empty: all of it."""
    optimization_level: Level | None = None
    """How long the builder searches, 0 to 5. Empty: TensorRT's default. TensorRT-RTX ignores it."""
    timing_cache: Text | None = None
    """File of kernel timings that builds read and extend, relative to the working directory. No effect in
    TensorRT-RTX."""
    batch_profiles: Listed[BatchRange] = ()
    """Optimization profiles, each `[min, opt, max]` of the batch size. Empty: one profile for each row, from 1 to its
    `batch_size` and tuned for that."""
    tf32: bool = False
    """Let FP32 layers multiply in TF32, which keeps 10 of 23 bits. TensorRT's own default is true."""
    refit: bool = False
    """Weights of the engine can be replaced later. Needs a GPU when building."""
    strip_weights: bool = False
    """Leave the weights out of the engine file. Needs a GPU when building; such engines are audited and not run."""
    version_compatible: bool = False
    """The engine also runs with later TensorRT versions; `tensorrt` puts its lean runtime into the file for that."""
    hardware_compatibility: HardwareCompatibility = "none"
    """Also run on other GPUs than the one it is built on. TensorRT-RTX refuses it: leave `compute_capabilities` out."""
    cuda_graph: bool = False
    """Launch inferences as one CUDA graph. Through torch; pycuda has no graphs."""
    verbose: bool = False
    """Keep the builder's whole log in the artifact, as `build.log`. Of a build that fails, `harness build --verbose`
    prints it."""


class TensorRtRtxSettings(TensorRtSettings):
    """How engines of the target `tensorrt-rtx` are built."""

    compute_capabilities: Listed[Annotated[str, OneOf(lambda: RTX_CAPABILITIES)]] = ()
    """GPU generations to build for, one row each; building needs no GPU. Empty: one portable engine for SM80 and
    later."""

    @property
    def devices(self) -> tuple[str | None, ...]:
        """One row for each compute capability."""
        return tuple(dict.fromkeys(self.compute_capabilities)) or (None,)


class ShapeRange(BaseModel):
    """The shapes of one input that a profile covers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Shape
    opt: Shape
    max: Shape


class TensorRtBuildOptions(BuildOptions):
    """Everything that decides what engine is built."""

    compute_capability: str | None = None
    """For instance `SM86`; None: this machine's GPU, or a portable engine where the target can build one."""
    expects_int8: bool = False
    """Refuse an ONNX file without Q/DQ nodes."""
    batch_profiles: tuple[tuple[int, int, int], ...] = ()
    shape_profiles: tuple[dict[str, ShapeRange], ...] = ()
    """Profiles by input name, for networks whose other dimensions are dynamic, too."""
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: str | None = None
    tf32: bool = False
    refit: bool = False
    strip_weights: bool = False
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    cuda_graph: bool = False
    verbose: bool = False
