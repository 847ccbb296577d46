"""Building and running ONNX Runtime sessions on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from harness.exporting.onnx_file import load_onnx
from harness.exporting.onnxruntime_errors import explain
from harness.targets.base import BoundSession, Engine, EngineGraph
from harness.targets.engine_record import EngineRecord, sha256
from harness.targets.onnxruntime.audit import audit, source_names, tensor_types
from harness.targets.onnxruntime.canonical import canonicalize
from harness.targets.onnxruntime.predict import open_session, session_options

if TYPE_CHECKING:
    from harness.targets.base import Array
    from harness.targets.onnxruntime import OnnxRuntimeOptions

Providers = Sequence[str | tuple[str, Mapping[str, str]]]
"""Execution providers in the order in which they may take a node, with their options."""

ENGINE_FILE = "engine.onnx"
CPU_PROVIDERS: Providers = ["CPUExecutionProvider"]
_DISABLED = ["WeightBiasQuantization"]
"""It would quantize layers that the scenario skips, between quantized neighbours."""


def build(onnx_path: Path, directory: Path, options: OnnxRuntimeOptions) -> Engine:
    """Write the graph that ONNX Runtime executes on this CPU, all optimizations applied, and its audit beside it."""
    chosen = session_options(options.model_dump())
    engine_path = directory / ENGINE_FILE
    chosen.optimized_model_filepath = str(engine_path)
    optimized_session(onnx_path, chosen, CPU_PROVIDERS, quantize_biases=options.quantize_biases)
    engine = onnx.load(engine_path)
    canonicalize(engine, onnx.load(onnx_path))
    onnx.save(engine, engine_path)
    record = EngineRecord(
        builder=f"onnxruntime {onnxruntime.__version__}",
        target="onnxruntime",
        sha256=sha256(engine_path),
        input_shapes=dict(options.input_shapes),
        layers=audit(engine_path, onnx_path, options.input_shapes),
    )
    record.save(engine_path)
    return Engine(engine_path, weight_bytes(engine_path), options)


def optimized_session(
    onnx_path: Path, session_options: onnxruntime.SessionOptions, providers: Providers, *, quantize_biases: bool
) -> onnxruntime.InferenceSession:
    """A session with all optimizations; StageError with the node and the fix for a file that cannot be built."""
    model = load_onnx(onnx_path)
    session_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            str(onnx_path),
            session_options,
            providers=providers,
            disabled_optimizers=[] if quantize_biases else _DISABLED,
        )
    except Exception as error:  # the binding raises many kinds
        raise explain(error, model, onnx_path.name) from error


def weight_bytes(path: Path) -> int:
    """Bytes of all weights and biases in an ONNX file; scalars such as scales of activations are not counted."""
    model = onnx.load(path)
    return sum(
        onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer if np.prod(tensor.dims) > 1
    )


class OnnxRuntimeSession(BoundSession):
    """One CPU session with its own thread pool."""

    def __init__(self, path: Path, options: OnnxRuntimeOptions) -> None:
        self._session = open_session(str(path), options.model_dump())
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: Array) -> Array:
        """Outputs of one batch."""
        return np.asarray(self._session.run(None, {self._input: batch})[0])

    def prepared(self, batch: Array) -> Callable[[], object]:
        """With input and outputs bound; the batch itself is the input's buffer."""
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._input, np.ascontiguousarray(batch))
        for output in self._session.get_outputs():
            binding.bind_output(output.name)
        return partial(self._session.run_with_iobinding, binding)


def engine_graph(path: Path, options: OnnxRuntimeOptions) -> EngineGraph:
    """An engine file, to be cut open."""
    model = onnx.load(path)
    return EngineGraph(model, lambda data: open_session(data, options.model_dump()), tensor_types(model), source_names)
