"""Building and running ONNX Runtime sessions on the CPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from harness.errors import StageError
from harness.targets.base import Engine, EngineGraph, Session
from harness.targets.onnxruntime.audit import element_types, source_names

if TYPE_CHECKING:
    from harness.targets.base import Array
    from harness.targets.onnxruntime import OnnxRuntimeOptions

ENGINE_FILE = "engine.onnx"
_EXACT_PRODUCTS = "session.x64quantprecision"
_PROVIDERS = ["CPUExecutionProvider"]
_DISABLED = ["WeightBiasQuantization"]
"""It would quantize layers that the scenario leaves in float, between quantized neighbours."""
_ERRORS_ONLY = 3


def build(onnx_path: Path, directory: Path, options: OnnxRuntimeOptions) -> Engine:
    """Write the graph that ONNX Runtime executes on this CPU, all optimizations applied."""
    session_options = _session_options(options)
    engine_path = directory / ENGINE_FILE
    session_options.optimized_model_filepath = str(engine_path)
    session_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        onnxruntime.InferenceSession(
            str(onnx_path),
            session_options,
            providers=_PROVIDERS,
            disabled_optimizers=[] if options.quantize_biases else _DISABLED,
        )
    except Exception as error:  # the binding raises many kinds
        message = str(error).strip().splitlines()[0]
        raise StageError(f"ONNX Runtime cannot build {onnx_path.name}: {message}") from error
    return Engine(engine_path, weight_bytes(engine_path), options)


def weight_bytes(path: Path) -> int:
    """Bytes of all weights and biases in an ONNX file; scalars such as scales of activations are not counted."""
    model = onnx.load(path)
    return sum(
        onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer if np.prod(tensor.dims) > 1
    )


class OnnxRuntimeSession(Session):
    """One CPU session with its own thread pool."""

    def __init__(self, path: Path, options: OnnxRuntimeOptions) -> None:
        self._session = open_session(str(path), options)
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: Array) -> Array:
        """Outputs of one batch."""
        return np.asarray(self._session.run(None, {self._input: batch})[0])

    def time_runs(self, batch: Array, runs: int) -> list[float]:
        """Wall-clock milliseconds of each inference."""
        run, feed, clock = self._session.run, {self._input: batch}, time.perf_counter_ns
        stamps = np.empty((runs, 2), np.int64)
        for index in range(runs):
            start = clock()
            run(None, feed)
            stamps[index] = start, clock()
        return list((stamps[:, 1] - stamps[:, 0]) / 1e6)


def open_session(model: str | bytes, options: OnnxRuntimeOptions) -> onnxruntime.InferenceSession:
    """A session of an optimized graph, from its file or from its bytes."""
    session_options = _session_options(options)
    # It was optimized when it was built; optimizing again could change what the audit has seen.
    session_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, session_options, providers=_PROVIDERS)


def engine_graph(path: Path, options: OnnxRuntimeOptions) -> EngineGraph:
    """An engine file, to be cut open."""
    model = onnx.load(path)
    return EngineGraph(model, lambda data: open_session(data, options), element_types(model), source_names)


def _session_options(options: OnnxRuntimeOptions) -> onnxruntime.SessionOptions:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.inter_op_num_threads = 1
    session_options.log_severity_level = _ERRORS_ONLY
    session_options.add_session_config_entry(_EXACT_PRODUCTS, str(int(options.exact_products)))
    return session_options
