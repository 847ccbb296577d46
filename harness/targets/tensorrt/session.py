"""Running an engine: checked before use, named tensors, one stream, times split into copies and computing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from harness.errors import StageError
from harness.targets.base import Session
from harness.targets.tensorrt import api
from harness.targets.tensorrt.binding import new_context
from harness.targets.tensorrt.devices import Array, CudaDevice, open_device
from harness.targets.tensorrt.engine_file import load_engine
from harness.targets.tensorrt.options import TensorRtBuildOptions

if TYPE_CHECKING:
    import torch

WARMUP_ENQUEUES = 3
"""Kernels are compiled and memory is taken in the first ones; a graph must be captured after that."""


class Timing(NamedTuple):
    """One inference by CUDA events."""

    to_device_ms: float
    compute_ms: float
    to_host_ms: float

    @property
    def total_ms(self) -> float:
        """Both copies and computing."""
        return sum(self)


@dataclass
class Tensor:
    """One input or output of the engine for the shape in use."""

    name: str
    host: Array
    buffer: Any
    address: int


class TensorRtSession(Session):
    """One engine with one execution context. Buffers are made anew when the batch size changes."""

    includes_transfers: ClassVar[bool] = True

    def __init__(
        self, engine: api.CudaEngine, trt: api.TensorRtModule, device: CudaDevice, *, cuda_graph: bool = False
    ) -> None:
        self._trt = trt
        self._engine = engine
        self._device = device
        self._context = new_context(trt, engine)
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or len(outputs) != 1:
            raise StageError(f"the engine has {len(inputs)} inputs and {len(outputs)} outputs; one of each is expected")
        self._input_name, self._output_name = inputs[0], outputs[0]
        self._ranges = [self._batch_range(index) for index in range(engine.num_optimization_profiles)]
        self._shape: tuple[int, ...] | None = None
        self._profile = 0
        self._events = [device.event() for _ in range(4)]
        self._wants_graph = cuda_graph
        self._graph: Callable[[], None] | None = None

    def run(self, batch: Array) -> Array:
        """Outputs of a batch of any size; it is split where no profile takes so many samples at once."""
        most = max(high for _, high in self._ranges)
        parts = [self._infer(batch[start : start + most]) for start in range(0, len(batch), most)]
        return np.concatenate(parts)

    def time_runs(self, batch: Array, runs: int) -> list[float]:
        """Milliseconds of each inference, copies in both directions included."""
        return [timing.total_ms for timing in self.time_split(batch, runs)]

    def time_split(self, batch: Array, runs: int) -> list[Timing]:
        """The same, split into what CUDA events stand between."""
        self._prepare(batch.shape)
        self._fill(batch)
        return [self._timed() for _ in range(runs)]

    def time_parts(self, batch: Array, runs: int) -> dict[str, list[float]]:
        """Copy to the device, computing, copy to the host."""
        split = self.time_split(batch, runs)
        return {name.removesuffix("_ms"): [getattr(timing, name) for timing in split] for name in Timing._fields}

    def run_on_device(self, address: int, shape: tuple[int, ...]) -> Array:
        """Outputs for an input that is on the device already, such as a contiguous torch tensor's `data_ptr()`.

        Nothing is copied to the device. The caller must have finished writing it.
        """
        self._prepare(shape)
        self._set_address(self._input_name, address)
        try:
            self._enqueue()
            self._device.copy_to_host(self._output.host, self._output.buffer)
            self._device.synchronize()
        finally:
            self._set_address(self._input_name, self._input.address)
        return self._output.host.copy()

    def run_tensor(self, tensor: torch.Tensor) -> Array:
        """Outputs for a tensor of torch on the GPU, read where it lies; StageError where it cannot be."""
        import torch

        wanted = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(self._input_name))).name
        held = str(tensor.dtype).removeprefix("torch.")
        problems = (
            (not tensor.is_cuda, "is not on the GPU", "move it there with `.cuda()`, or give `run` an array"),
            (held != wanted, f"holds {held}, not {wanted}", f"convert it with `.to(torch.{wanted})`"),
            (not tensor.is_contiguous(), "is not contiguous", "call `.contiguous()` first"),
        )
        for holds, words, fix in problems:
            if holds:
                raise StageError(f"the tensor {words}, so the engine cannot read it", fix=fix)
        torch.cuda.current_stream().synchronize()  # whatever still writes it
        return self.run_on_device(tensor.data_ptr(), tuple(tensor.shape))

    def close(self) -> None:
        """Free the context before the engine, and events and buffers before the device's context."""
        self._graph = None
        self._events = []
        del self._context
        del self._engine
        self._shape = None
        for name in ("_input", "_output"):
            vars(self).pop(name, None)
        self._device.close()

    def _infer(self, batch: Array) -> Array:
        low = self._range_for(len(batch))[0]
        padded = batch if len(batch) >= low else np.concatenate([batch, *[batch[-1:]] * (low - len(batch))])
        self._prepare(padded.shape)
        self._fill(padded)
        self._timed()
        return self._output.host[: len(batch)].copy()

    def _timed(self) -> Timing:
        start, copied, computed, end = self._events
        device = self._device
        device.record(start)
        device.copy_to_device(self._input.buffer, self._input.host)
        device.record(copied)
        self._launch()
        device.record(computed)
        device.copy_to_host(self._output.host, self._output.buffer)
        device.record(end)
        device.synchronize()
        pairs = ((start, copied), (copied, computed), (computed, end))
        return Timing(*(device.elapsed_ms(first, second) for first, second in pairs))

    def _fill(self, batch: Array) -> None:
        np.copyto(self._input.host, batch, casting="same_kind")

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Choose the profile, tell the context the shape, and make buffers for it."""
        if shape == self._shape:
            return
        self._shape = self._graph = None  # until all of this has worked
        self._choose_profile(shape[0])
        context = self._context
        if not context.set_input_shape(self._input_name, shape):
            raise StageError(f"the engine refuses the input shape {shape}", fix="build it with a profile that has it")
        unknown = context.infer_shapes()
        if unknown:
            raise StageError(f"the engine cannot tell the shape of {', '.join(unknown)}")
        self._input = self._tensor(self._input_name)
        self._output = self._tensor(self._output_name)
        for _ in range(WARMUP_ENQUEUES):
            self._enqueue()
        self._device.synchronize()
        if self._wants_graph:
            self._graph = self._device.capture(self._enqueue_on)
        self._shape = shape

    def _tensor(self, name: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        host = self._device.host_buffer(shape, dtype)
        buffer, address = self._device.device_buffer(host.nbytes)
        self._set_address(name, address)
        return Tensor(name, host, buffer, address)

    def _choose_profile(self, batch_size: int) -> None:
        index = self._ranges.index(self._range_for(batch_size))
        if index != self._profile:
            if not self._context.set_optimization_profile_async(index, self._device.stream):
                raise StageError(f"the engine refuses its optimization profile {index}")
            self._device.synchronize()
            self._profile = index

    def _range_for(self, batch_size: int) -> tuple[int, int]:
        """The narrowest profile that holds this batch size; else the one that takes it with the least padding."""
        holding = [each for each in self._ranges if each[0] <= batch_size <= each[1]]
        above = [each for each in self._ranges if each[0] > batch_size]
        chosen = min(holding or above, key=lambda each: (each[1] - each[0], each[0]), default=None)
        if chosen is None:
            raise StageError(
                f"no optimization profile takes {batch_size} samples",
                fix="add one to `batch_profiles`, and build again",
            )
        return chosen

    def _batch_range(self, profile: int) -> tuple[int, int]:
        low, _, high = self._engine.get_tensor_profile_shape(self._input_name, profile)
        return int(low[0]), int(high[0])

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise StageError(f"the engine refuses the address of `{name}`")

    def _launch(self) -> None:
        if self._graph is None:
            self._enqueue()
        else:
            self._graph()

    def _enqueue(self) -> None:
        self._enqueue_on(self._device.stream)

    def _enqueue_on(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise StageError("the engine failed to run: execute_async_v3 returned false")


def open_session(path: Path, trt: api.TensorRtModule, options: TensorRtBuildOptions) -> TensorRtSession:
    """A session on this machine's GPU."""
    device = open_device(cuda_graph=options.cuda_graph)
    try:
        engine = load_engine(path, trt, version_compatible=options.version_compatible)
        return TensorRtSession(engine, trt, device, cuda_graph=options.cuda_graph)
    except StageError:
        device.close()
        raise
