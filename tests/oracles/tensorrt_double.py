"""A recording double of a TensorRT binding and of CUDA: what is called, in which order, and what is alive when.

The binding has the names of one version's member list only; touching another one is an AttributeError, as with the
real one.
"""

import enum
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from oracles.tensorrt_names import apis

from harness.targets.tensorrt.devices import CudaDevice

CLASSES = 10
SHAPE = (3, 8, 8)


class Mode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Checked:
    """Only the members of one class of one version can be reached."""

    def __init__(self, owner: str, members: set[str], world: "World") -> None:
        self.__dict__.update(_owner=owner, _members=members, _world=world)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in object.__getattribute__(self, "_members"):
            raise AttributeError(f"{object.__getattribute__(self, '_owner')} has no `{name}` in this version")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self._members:
            raise AttributeError(f"{self._owner} has no `{name}` in this version")
        object.__setattr__(self, name, value)


class World:
    """One binding with one engine on one device."""

    def __init__(self, version: str, profiles: tuple[tuple[int, int], ...] = ((1, 8),)) -> None:
        self.api = apis()[version]
        self.calls: list[str] = []
        self.profiles = profiles
        self.refuses: set[str] = set()
        """Calls that report failure."""
        self.trt = Binding(self)
        self.device = RecordingDevice(self)
        self.loggers: list[Any] = []
        """Given to runtimes."""
        self.input_type = "FLOAT"
        self.memory: dict[int, np.ndarray] = {}
        """Device memory by address."""

    def members(self, owner: str) -> set[str]:
        return self.api.get(owner, set())

    def note(self, call: str) -> bool:
        """Record a call; whether it succeeds."""
        self.calls.append(call)
        return call.partition(" ")[0] not in self.refuses

    def engine(self) -> "Engine":
        return Engine("ICudaEngine", self.members("ICudaEngine"), self)


class Binding:
    """The module."""

    TensorIOMode = Mode
    LayerInformationFormat = SimpleNamespace(JSON="JSON")

    def __init__(self, world: World) -> None:
        self._world = world
        self.__name__ = "tensorrt_double"
        if "ComputeCapability" in world.api:
            self.ComputeCapability = enum.Enum("ComputeCapability", sorted(world.members("ComputeCapability")))
            self.EngineValidity = enum.Enum("EngineValidity", sorted(world.members("EngineValidity")))
            names = sorted(world.members("EngineInvalidityDiagnostics"))
            self.EngineInvalidityDiagnostics = enum.IntFlag("EngineInvalidityDiagnostics", names)
            self.DynamicShapesKernelSpecializationStrategy = enum.Enum(
                "Strategy", sorted(world.members("DynamicShapesKernelSpecializationStrategy"))
            )
            self.CudaGraphStrategy = enum.Enum("CudaGraphStrategy", sorted(world.members("CudaGraphStrategy")))

    class ILogger:
        def __init__(self) -> None: ...

    def nptype(self, dtype: str) -> type:
        return {"FLOAT": np.float32, "HALF": np.float16}[dtype]

    def Runtime(self, logger: Any) -> "Runtime":  # noqa: N802  # TensorRT's name
        self._world.loggers.append(logger)
        runtime = Runtime("Runtime", self._world.members("Runtime"), self._world)
        runtime._logger = logger
        return runtime


class Runtime(Checked):
    engine_host_code_allowed = False

    def get_engine_validity(self, plan: bytes) -> tuple[Any, int]:
        trt = self._world.trt
        if plan == b"foreign":
            return trt.EngineValidity.INVALID, int(trt.EngineInvalidityDiagnostics.UNSUPPORTED_CC)
        return trt.EngineValidity.VALID, 0

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        if plan == b"good":
            self._world.note(f"deserialize, host code {'' if self.engine_host_code_allowed else 'not '}allowed")
            return self._world.engine()
        self._logger.log("Severity.ERROR", "Serialization assertion magicTag failed")
        return None


class Engine(Checked):
    @property
    def num_io_tensors(self) -> int:
        return 2

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._world.profiles)

    def get_tensor_name(self, index: int) -> str:
        return ("input", "logits")[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == "input" else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return self._world.input_type

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        low, high = self._world.profiles[profile]
        return [(low, *SHAPE), (high, *SHAPE), (high, *SHAPE)]

    def create_runtime_config(self) -> "RuntimeConfig":
        return RuntimeConfig("IRuntimeConfig", self._world.members("IRuntimeConfig"), self._world)

    def create_engine_inspector(self) -> "Inspector":
        return Inspector("EngineInspector", self._world.members("EngineInspector"), self._world)

    def create_execution_context(self, runtime_config: Any = None) -> "Context":
        self._world.note("create_execution_context" + (" with a runtime configuration" if runtime_config else ""))
        return Context("IExecutionContext", self._world.members("IExecutionContext"), self._world)


class Inspector(Checked):
    """Knows the types of a dynamic batch only where it has a context with a shape, as in TensorRT 10."""

    def get_engine_information(self, form: str) -> str:
        context = getattr(self, "execution_context", None)
        known = context is not None and hasattr(context, "_shape")
        tensor = {"Format/Datatype": "Row major Int8 format" if known else "N/A due to dynamic shapes"}
        layer = {"Name": "conv1", "LayerType": "CaskConvolution", "Inputs": [tensor], "Outputs": [tensor]}
        return json.dumps({"Layers": [layer]})


class RuntimeConfig(Checked):
    def create_runtime_cache(self) -> object:
        return object()

    def set_runtime_cache(self, cache: object) -> bool:
        return True


class Context(Checked):
    """Computes, of each sample, its mean in every class; it reads and writes device memory only."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return self._world.note(f"set_input_shape {shape[0]}")

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape if name == "input" else (self._shape[0], CLASSES)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses = {**getattr(self, "_addresses", {}), name: address}
        return self._world.note(f"set_tensor_address {name}")

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        return self._world.note(f"set_optimization_profile_async {index}")

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self._world.device.stream, "work must go to the session's own stream"
        source = self._world.memory[self._addresses["input"]].view(np.float32)
        samples = source[: int(np.prod(self._shape))].reshape(self._shape)
        result = np.repeat(samples.mean(axis=(1, 2, 3), keepdims=True)[:, 0, 0], CLASSES, axis=1)
        target = self._world.memory[self._addresses["logits"]].view(np.float32)
        target[: result.size] = result.reshape(-1)
        return self._world.note("execute")


class RecordingDevice(CudaDevice):
    """Host memory in the place of a GPU's; its clock advances by one at each event."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clock = 0.0
        self.pinned: set[int] = set()

    @property
    def stream(self) -> int:
        return 77

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        array = np.zeros(shape, dtype)
        self.pinned.add(id(array))
        return array

    def device_buffer(self, n_bytes: int) -> tuple[Any, int]:
        address = 0x1000 * (1 + len(self._world.memory))
        self._world.memory[address] = np.zeros(n_bytes, np.uint8)
        self._world.note(f"allocate {n_bytes}")
        return address, address

    def copy_to_device(self, buffer: Any, host: np.ndarray) -> None:
        assert id(host) in self.pinned, "only page-locked memory is copied"
        self._world.memory[buffer][: host.nbytes] = host.reshape(-1).view(np.uint8)
        self._world.note("to device")

    def copy_to_host(self, host: np.ndarray, buffer: Any) -> None:
        assert id(host) in self.pinned, "only page-locked memory is copied"
        host.reshape(-1).view(np.uint8)[:] = self._world.memory[buffer][: host.nbytes]
        self._world.note("to host")

    def event(self) -> Any:
        return {}

    def record(self, event: Any) -> None:
        self._clock += 1.0
        event["time"] = self._clock
        self._world.note("event")

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(end["time"] - start["time"])

    def synchronize(self) -> None:
        self._world.note("synchronize")

    def capture(self, enqueue: Callable[[int], None]) -> Callable[[], None]:
        self._world.note("capture")
        enqueue(self.stream)
        return lambda: (self._world.note("replay"), enqueue(self.stream))[0] and None

    def close(self) -> None:
        self._world.note("close")
