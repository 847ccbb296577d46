"""What running an engine needs of CUDA: a stream, buffers on both sides, copies and events; from pycuda or torch."""

from __future__ import annotations

import atexit
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import StageError

Array = npt.NDArray[np.generic]


class CudaDevice(ABC):
    """One CUDA device with one stream that is not the default one; all work goes to that stream."""

    @property
    @abstractmethod
    def stream(self) -> int:
        """Handle of the stream."""

    @abstractmethod
    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A page-locked array, so that copies run beside other work."""

    @abstractmethod
    def device_buffer(self, n_bytes: int) -> tuple[Any, int]:
        """A buffer on the device and its address."""

    @abstractmethod
    def copy_to_device(self, buffer: Any, host: Array) -> None:
        """Start copying a page-locked array to the device."""

    @abstractmethod
    def copy_to_host(self, host: Array, buffer: Any) -> None:
        """Start copying from the device to a page-locked array."""

    @abstractmethod
    def event(self) -> Any:
        """An event that can be timed."""

    @abstractmethod
    def record(self, event: Any) -> None:
        """Put an event into the stream."""

    @abstractmethod
    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two recorded events, after `synchronize`."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work of the stream."""

    def capture(self, enqueue: Callable[[int], None]) -> Callable[[], None]:
        """Record what `enqueue(stream)` launches as a CUDA graph; the result launches it again."""
        raise StageError("pycuda has no CUDA graphs", fix="install torch with CUDA, or leave `cuda_graph` out")

    @abstractmethod
    def close(self) -> None:
        """Give the context back; buffers must be gone."""


class PyCudaDevice(CudaDevice):
    """Through pycuda, in the primary context of the device, which torch shares."""

    def __init__(self) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        cuda.init()
        self._context = cuda.Device(0).retain_primary_context()
        self._context.push()
        self._stream: Any = cuda.Stream()
        # pycuda ends the process with SIGABRT when it finds a context that was not popped.
        atexit.register(self.close)

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream.handle)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A page-locked array."""
        array: Array = self._cuda.pagelocked_empty(shape, dtype)
        return array

    def device_buffer(self, n_bytes: int) -> tuple[Any, int]:
        """Device memory; it is freed with the object."""
        buffer = self._cuda.mem_alloc(max(1, n_bytes))
        return buffer, int(buffer)

    def copy_to_device(self, buffer: Any, host: Array) -> None:
        """Asynchronous, in the stream."""
        self._cuda.memcpy_htod_async(buffer, host, self._stream)

    def copy_to_host(self, host: Array, buffer: Any) -> None:
        """Asynchronous, in the stream."""
        self._cuda.memcpy_dtoh_async(host, buffer, self._stream)

    def event(self) -> Any:
        """A pycuda event."""
        return self._cuda.Event()

    def record(self, event: Any) -> None:
        """Into the stream."""
        event.record(self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """From start to end."""
        return float(start.time_till(end))

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def close(self) -> None:
        """Leave the primary context to whoever else holds it. Doing so twice does nothing."""
        if self._stream is None:
            return
        self._stream = None
        self._context.pop()
        self._context.detach()


class TorchDevice(CudaDevice):
    """Through torch, where pycuda is missing or a CUDA graph is wanted."""

    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        self._stream = self._torch.cuda.Stream()
        self._pinned: dict[int, Any] = {}

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream.cuda_stream)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The numpy view of a pinned tensor."""
        tensor = self._torch.empty(shape, dtype=self._torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=True)
        array: Array = tensor.numpy()
        self._pinned[array.ctypes.data] = tensor
        return array

    def device_buffer(self, n_bytes: int) -> tuple[Any, int]:
        """A tensor of bytes."""
        tensor = self._torch.empty(max(1, n_bytes), dtype=self._torch.uint8, device="cuda")
        return tensor, int(tensor.data_ptr())

    def copy_to_device(self, buffer: Any, host: Array) -> None:
        """Asynchronous, in the stream."""
        with self._torch.cuda.stream(self._stream):
            source = self._pinned[host.ctypes.data].reshape(-1).view(self._torch.uint8)
            buffer[: source.numel()].copy_(source, non_blocking=True)

    def copy_to_host(self, host: Array, buffer: Any) -> None:
        """Asynchronous, in the stream."""
        with self._torch.cuda.stream(self._stream):
            target = self._pinned[host.ctypes.data].reshape(-1).view(self._torch.uint8)
            target.copy_(buffer[: target.numel()], non_blocking=True)

    def event(self) -> Any:
        """A torch event."""
        return self._torch.cuda.Event(enable_timing=True)

    def record(self, event: Any) -> None:
        """Into the stream."""
        event.record(self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """From start to end."""
        return float(start.elapsed_time(end))

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def capture(self, enqueue: Callable[[int], None]) -> Callable[[], None]:
        """A CUDA graph on the stream."""
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream):
            enqueue(self.stream)

        def replay() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def close(self) -> None:
        """Forget the pinned tensors; torch keeps its context."""
        self._pinned.clear()


def open_device(*, cuda_graph: bool = False) -> CudaDevice:
    """Through pycuda where it is installed, else torch; StageError when neither can use CUDA."""
    broken = ""
    if not cuda_graph and importlib.util.find_spec("pycuda") is not None:
        try:
            return PyCudaDevice()
        except ImportError as error:  # built for another CUDA than the one here
            broken = f"; pycuda cannot be imported: {error}"
    import torch

    if torch.cuda.is_available():
        return TorchDevice()
    raise StageError(
        f"there is no CUDA device that pycuda or torch can use{broken}",
        fix="pip install pycuda, or a torch build with CUDA; `harness doctor` shows what is found",
    )
