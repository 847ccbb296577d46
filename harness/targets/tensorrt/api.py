"""What this project calls of TensorRT, as types: what TensorRT 10, 11 and RTX have in common, and what RTX adds.

The bindings ship no types. mypy checks the code against these protocols wherever it runs, and a test checks the
protocols against the stubs that are published for TensorRT 10 and against stubs made from the installed binding.
Arguments are positional: their names differ between the versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, SupportsInt

Value = Any
"""A member of one of TensorRT's enumerations, which are pybind11 classes of their own in each version."""


class NetworkFlags(Protocol):
    """`NetworkDefinitionCreationFlag`."""

    @property
    def STRONGLY_TYPED(self) -> SupportsInt: ...  # noqa: D102, N802  # TensorRT's names, here and below


class Verbosities(Protocol):
    """`ProfilingVerbosity`."""

    @property
    def DETAILED(self) -> Value: ...  # noqa: D102, N802


class MemoryPools(Protocol):
    """`MemoryPoolType`."""

    @property
    def WORKSPACE(self) -> Value: ...  # noqa: D102, N802


class BuilderFlags(Protocol):
    """`BuilderFlag`."""

    @property
    def TF32(self) -> Value: ...  # noqa: D102, N802
    @property
    def REFIT(self) -> Value: ...  # noqa: D102, N802
    @property
    def STRIP_PLAN(self) -> Value: ...  # noqa: D102, N802
    @property
    def VERSION_COMPATIBLE(self) -> Value: ...  # noqa: D102, N802
    @property
    def EXCLUDE_LEAN_RUNTIME(self) -> Value: ...  # noqa: D102, N802


class IOModes(Protocol):
    """`TensorIOMode`."""

    @property
    def INPUT(self) -> Value: ...  # noqa: D102, N802


class InformationFormats(Protocol):
    """`LayerInformationFormat`."""

    @property
    def JSON(self) -> Value: ...  # noqa: D102, N802


class ParserError(Protocol):
    """Why the parser refused a file."""

    def desc(self) -> str: ...  # noqa: D102
    def node_name(self) -> str: ...  # noqa: D102
    def node_operator(self) -> str: ...  # noqa: D102


class Parser(Protocol):
    """`OnnxParser`."""

    def parse_from_file(self, path: str, /) -> bool: ...  # noqa: D102
    def get_error(self, index: int, /) -> ParserError: ...  # noqa: D102


class Profile(Protocol):
    """`IOptimizationProfile`."""

    def set_shape(self, name: str, least: Any, best: Any, most: Any, /) -> None: ...  # noqa: D102


class TimingCache(Protocol):
    """`ITimingCache`."""

    def serialize(self) -> Any: ...  # noqa: D102


class BuilderConfig(Protocol):
    """`IBuilderConfig`."""

    profiling_verbosity: Value
    builder_optimization_level: Any
    hardware_compatibility_level: Value

    def set_memory_pool_limit(self, pool: Any, n_bytes: int, /) -> None: ...  # noqa: D102
    def set_flag(self, flag: Any, /) -> None: ...  # noqa: D102
    def clear_flag(self, flag: Any, /) -> None: ...  # noqa: D102
    def add_optimization_profile(self, profile: Any, /) -> int: ...  # noqa: D102
    def create_timing_cache(self, held: Any, /) -> TimingCache: ...  # noqa: D102
    def set_timing_cache(self, cache: Any, ignore_mismatch: bool, /) -> bool: ...  # noqa: D102


class Builder(Protocol):
    """`Builder`."""

    def create_network(self, flags: int, /) -> Any: ...  # noqa: D102
    def create_builder_config(self) -> BuilderConfig: ...  # noqa: D102
    def create_optimization_profile(self) -> Profile: ...  # noqa: D102
    def build_serialized_network(self, network: Any, config: Any, /) -> Any: ...  # noqa: D102


class Context(Protocol):
    """`IExecutionContext`."""

    def set_input_shape(self, name: str, shape: tuple[int, ...], /) -> bool: ...  # noqa: D102
    def infer_shapes(self) -> Sequence[str]: ...  # noqa: D102
    def get_tensor_shape(self, name: str, /) -> Any: ...  # noqa: D102
    def set_tensor_address(self, name: str, address: int, /) -> bool: ...  # noqa: D102
    def set_optimization_profile_async(self, index: int, stream: int, /) -> bool: ...  # noqa: D102
    def execute_async_v3(self, stream: int, /) -> bool: ...  # noqa: D102


class Inspector(Protocol):
    """`EngineInspector`."""

    execution_context: Any

    def get_engine_information(self, form: Any, /) -> str: ...  # noqa: D102


class CudaEngine(Protocol):
    """`ICudaEngine`."""

    @property
    def num_io_tensors(self) -> int: ...  # noqa: D102
    @property
    def num_optimization_profiles(self) -> int: ...  # noqa: D102
    def create_execution_context(self) -> Context: ...  # noqa: D102
    def create_engine_inspector(self) -> Inspector: ...  # noqa: D102
    def get_tensor_name(self, index: int, /) -> str: ...  # noqa: D102
    def get_tensor_mode(self, name: str, /) -> Value: ...  # noqa: D102
    def get_tensor_dtype(self, name: str, /) -> Value: ...  # noqa: D102
    def get_tensor_profile_shape(self, name: str, profile: int, /) -> Sequence[Any]: ...  # noqa: D102


class Runtime(Protocol):
    """`Runtime`."""

    engine_host_code_allowed: Any

    def deserialize_cuda_engine(self, plan: Any, /) -> CudaEngine | None: ...  # noqa: D102


class TensorRtModule(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`."""

    __name__: str
    __version__: str

    @property
    def NetworkDefinitionCreationFlag(self) -> NetworkFlags: ...  # noqa: D102, N802
    @property
    def ProfilingVerbosity(self) -> Verbosities: ...  # noqa: D102, N802
    @property
    def MemoryPoolType(self) -> MemoryPools: ...  # noqa: D102, N802
    @property
    def BuilderFlag(self) -> BuilderFlags: ...  # noqa: D102, N802
    @property
    def HardwareCompatibilityLevel(self) -> Any: ...  # noqa: D102, N802
    @property
    def TensorIOMode(self) -> IOModes: ...  # noqa: D102, N802
    @property
    def LayerInformationFormat(self) -> InformationFormats: ...  # noqa: D102, N802
    @property
    def ILogger(self) -> type[Any]: ...  # noqa: D102, N802
    def Builder(self, logger: Any, /) -> Builder: ...  # noqa: D102, N802
    def OnnxParser(self, network: Any, logger: Any, /) -> Parser: ...  # noqa: D102, N802
    def Runtime(self, logger: Any, /) -> Runtime: ...  # noqa: D102, N802
    def nptype(self, data_type: Any, /) -> Any: ...  # noqa: D102


class RtxBuilderConfig(BuilderConfig, Protocol):
    """`IBuilderConfig` of RTX, which builds for a GPU that is not here."""

    num_compute_capabilities: Any

    def set_compute_capability(self, capability: Any, index: int, /) -> bool: ...  # noqa: D102


class RtxRuntimeConfig(Protocol):
    """`IRuntimeConfig` of RTX, which compiles kernels where the engine runs."""

    dynamic_shapes_kernel_specialization_strategy: Value
    cuda_graph_strategy: Value

    def create_runtime_cache(self) -> Any: ...  # noqa: D102
    def set_runtime_cache(self, cache: Any, /) -> Any: ...  # noqa: D102


class RtxEngine(Protocol):
    """`ICudaEngine` of RTX."""

    def create_runtime_config(self) -> RtxRuntimeConfig: ...  # noqa: D102
    def create_execution_context(self, config: Any, /) -> Context: ...  # noqa: D102


class RtxRuntime(Protocol):
    """`Runtime` of RTX."""

    def get_engine_validity(self, plan: bytes, /) -> tuple[Value, SupportsInt]: ...  # noqa: D102


class NamedEnum(Protocol):
    """An enumeration whose members are looked up by name."""

    @property
    def __members__(self) -> Mapping[str, SupportsInt]: ...


class Validities(Protocol):
    """`EngineValidity`."""

    @property
    def INVALID(self) -> Value: ...  # noqa: D102, N802


class Specializations(Protocol):
    """`DynamicShapesKernelSpecializationStrategy`."""

    @property
    def EAGER(self) -> Value: ...  # noqa: D102, N802


class GraphStrategies(Protocol):
    """`CudaGraphStrategy`."""

    @property
    def DISABLED(self) -> Value: ...  # noqa: D102, N802


class TensorRtRtxModule(TensorRtModule, Protocol):
    """The module `tensorrt_rtx`: what it has beside the common part."""

    @property
    def ComputeCapability(self) -> NamedEnum: ...  # noqa: D102, N802
    @property
    def EngineValidity(self) -> Validities: ...  # noqa: D102, N802
    @property
    def EngineInvalidityDiagnostics(self) -> NamedEnum: ...  # noqa: D102, N802
    @property
    def DynamicShapesKernelSpecializationStrategy(self) -> Specializations: ...  # noqa: D102, N802
    @property
    def CudaGraphStrategy(self) -> GraphStrategies: ...  # noqa: D102, N802
