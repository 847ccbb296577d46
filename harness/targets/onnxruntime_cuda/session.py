"""Running ONNX files on one execution provider with the buffers on its device, and profiling one inference."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import onnxruntime

from harness.errors import StageError
from harness.targets.base import Engine, Session
from harness.targets.engine_record import EngineRecord, sha256
from harness.targets.onnxruntime.predict import session_options
from harness.targets.onnxruntime.session import (
    CPU_PROVIDERS,
    ENGINE_FILE,
    Providers,
    optimized_session,
    weight_bytes,
)
from harness.targets.onnxruntime_cuda.audit import audit, layers_from_profile

if TYPE_CHECKING:
    from harness.targets.base import Array
    from harness.targets.onnxruntime_cuda import OnnxRuntimeCudaOptions

CUDA = "CUDAExecutionProvider"


class IoDevice(NamedTuple):
    """Where a session runs and its inputs and outputs lie."""

    kind: str
    """ONNX Runtime's name of the memory: `cuda` or `cpu`."""
    providers: Providers
    required: str
    """The provider without which nothing is run: ONNX Runtime alone would silently go on on the CPU."""


def cuda_device(*, tf32: bool) -> IoDevice:
    """The first GPU. Ops without a CUDA kernel run on the CPU, and the audit says so."""
    return IoDevice("cuda", [(CUDA, {"device_id": "0", "use_tf32": str(int(tf32))}), *CPU_PROVIDERS], CUDA)


def build(onnx_path: Path, directory: Path, options: OnnxRuntimeCudaOptions, device: IoDevice) -> Engine:
    """The file is the engine, optimized whenever it is loaded; a record of one profiled inference is beside it."""
    with tempfile.TemporaryDirectory(prefix="quant-harness-profile-") as folder:
        events = _profile(onnx_path, options, device, Path(folder))
    layers = layers_from_profile(events)
    engine_path = directory / ENGINE_FILE
    if onnx_path.resolve() != engine_path.resolve():
        shutil.copyfile(onnx_path, engine_path)
    record = EngineRecord(
        builder=f"onnxruntime {onnxruntime.__version__}",
        target="onnxruntime-cuda",
        sha256=sha256(engine_path),
        engine_layers=layers,
        layers=audit(layers, onnx_path),
    )
    record.save(engine_path)
    return Engine(engine_path, weight_bytes(engine_path), options)


def open_session(path: Path, options: OnnxRuntimeCudaOptions, device: IoDevice) -> IoBoundSession:
    """A session on the device."""
    return IoBoundSession(_load(path, options, device), device)


def _load(
    path: Path, options: OnnxRuntimeCudaOptions, device: IoDevice, profile_prefix: str | None = None
) -> onnxruntime.InferenceSession:
    if device.required == CUDA and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # where it prints what it misses, as ONNX Runtime's log does
            onnxruntime.preload_dlls()  # CUDA libraries that came as Python packages
    chosen = session_options(options.model_dump())
    if profile_prefix is not None:
        chosen.enable_profiling = True
        chosen.profile_file_prefix = profile_prefix
    session = optimized_session(path, chosen, device.providers, quantize_biases=options.quantize_biases)
    if device.required not in session.get_providers():
        raise StageError(
            f"ONNX Runtime cannot use its {device.required} here and would run on the CPU instead",
            fix="pip install 'onnxruntime-gpu[cuda,cudnn]' brings CUDA; the driver must be new enough for it",
        )
    return session


def _profile(onnx_path: Path, options: OnnxRuntimeCudaOptions, device: IoDevice, folder: Path) -> list[dict[str, Any]]:
    """The events of one inference on zeros."""
    session = _load(onnx_path, options, device, str(folder / "profile"))
    (value, *others) = session.get_inputs()
    if others:
        raise StageError(f"{onnx_path.name} has {1 + len(others)} inputs; one is expected", fix="export it with one")
    shape = [options.batch_size if index == 0 else size for index, size in enumerate(value.shape)]
    if not all(isinstance(size, int) for size in shape):
        shown = "x".join(str(size) if isinstance(size, int) else "?" for size in value.shape)
        raise StageError(
            f"{onnx_path.name}: input `{value.name}` has the dynamic shape {shown}; only the batch may be dynamic",
            fix="export it with a fixed height and width",
        )
    if isinstance(value.shape[0], int):
        shape[0] = value.shape[0]
    IoBoundSession(session, device).run(np.zeros(shape, np.float32))
    events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return events


class IoBoundSession(Session):
    """One session whose input and output buffers stay on the device. They are made anew for another shape.

    Times are of the wall clock: copying the input there, computing, and copying the output back.
    """

    includes_transfers: ClassVar[bool] = True

    def __init__(self, session: onnxruntime.InferenceSession, device: IoDevice) -> None:
        self._session = session
        self._device = device.kind
        self._input_name = session.get_inputs()[0].name
        self._output_name = session.get_outputs()[0].name
        self._shape: tuple[int, ...] | None = None

    def run(self, batch: Array) -> Array:
        """Outputs of one batch."""
        self._bind(batch)
        return np.array(self._infer(_plain(batch)))

    def time_runs(self, batch: Array, runs: int) -> list[float]:
        """Wall-clock milliseconds of each inference."""
        self._bind(batch)
        plain, infer, clock = _plain(batch), self._infer, time.perf_counter_ns
        stamps = np.empty((runs, 2), np.int64)
        for index in range(runs):
            start = clock()
            infer(plain)
            stamps[index] = start, clock()
        return list((stamps[:, 1] - stamps[:, 0]) / 1e6)

    def _infer(self, batch: Array) -> Array:
        self._input.update_inplace(batch)
        self._session.run_with_iobinding(self._binding)
        output: Array = self._output.numpy()
        return output

    def _bind(self, batch: Array) -> None:
        """Buffers for a shape. ONNX Runtime makes the output's in the first inference; later ones write into it."""
        if batch.shape == self._shape:
            return
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(_plain(batch), self._device, 0)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(self._input_name, self._input)
        self._binding.bind_output(self._output_name, self._device, 0)
        self._session.run_with_iobinding(self._binding)
        self._output = self._binding.get_outputs()[0]
        self._binding.bind_ortvalue_output(self._output_name, self._output)
        self._shape = batch.shape


def _plain(batch: Array) -> Array:
    return np.ascontiguousarray(batch, np.float32)
