"""ONNX graphs, executed as they are written and cut open at chosen tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, helper

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]
    Arrays = Mapping[str, Array]
    Run = Callable[[Arrays], dict[str, Array]]
    """From inputs by name to outputs by name."""
    OpenSession = Callable[[bytes], onnxruntime.InferenceSession]

_FORCED = "/forced"
_ERRORS_ONLY = 3


def reference_session(model: bytes | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU without graph optimizations: what the file says, operator by operator."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(
        str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
    )


def exposed(model: ModelProto, types: Mapping[str, int]) -> ModelProto:
    """The model with these tensors as further outputs; `types` are ONNX element types."""
    changed = _copy(model)
    present = {value.name for value in changed.graph.output}
    changed.graph.output.extend(
        helper.make_tensor_value_info(name, element_type, None)
        for name, element_type in types.items()
        if name not in present
    )
    return changed


def cut(model: ModelProto, types: Mapping[str, int]) -> ModelProto:
    """The model in pieces: each tensor is still computed and handed out, but its readers get it from outside.

    So one run computes every piece from inputs of its own, and no error reaches the next piece. Outputs of the network
    that nothing else reads are handed out only.
    """
    changed = exposed(model, types)
    read: set[str] = set()
    for node in changed.graph.node:
        for index, name in enumerate(node.input):
            if name in types:
                node.input[index] = name + _FORCED
                read.add(name)
    changed.graph.input.extend(
        helper.make_tensor_value_info(name + _FORCED, element_type, None)
        for name, element_type in types.items()
        if name in read
    )
    return changed


def runner(model: ModelProto, open_session: OpenSession = reference_session) -> Run:
    """Executes a model; of the forced tensors only those that the model reads are handed in."""
    session = open_session(model.SerializeToString())
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]

    def run(feeds: Arrays) -> dict[str, Array]:
        given = {name: feeds[name.removesuffix(_FORCED)] for name in inputs}
        return dict(zip(outputs, session.run(outputs, given), strict=True))

    return run


def _copy(model: ModelProto) -> ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Recorded shapes of inner tensors would contradict nothing, but they are not needed and may be wrong in engines.
    del copy.graph.value_info[:]
    return copy
