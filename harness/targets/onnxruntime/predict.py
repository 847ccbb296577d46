"""Predict with ONNX Runtime on a CPU."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime


def session_options(options: Mapping[str, Any]) -> onnxruntime.SessionOptions:
    """Threads and kernels, whatever else is asked for."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options["threads"]
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 3  # errors alone
    # Whether to take kernels whose sums cannot saturate, on CPUs without VNNI.
    chosen.add_session_config_entry("session.x64quantprecision", str(int(options.get("exact_products", False))))
    return chosen


def open_session(model: str | bytes, options: Mapping[str, Any]) -> onnxruntime.InferenceSession:
    """A session of an optimized graph, from its file or from its bytes."""
    chosen = session_options(options)
    # It was optimized when it was built; optimizing again could change what was measured.
    chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, chosen, providers=["CPUExecutionProvider"])


def open_engine(path: Path, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function from inputs (N, C, H, W) float32 to outputs (N, ...)."""
    session = open_session(str(path), options)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]
