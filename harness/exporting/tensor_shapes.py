"""Shapes of the tensors of an ONNX file for one sample: inferred, or read off one inference."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from harness.errors import StageError
from harness.exporting.mac_formulas import NodeCall, Shape
from harness.exporting.onnx_index import all_nodes

_SMALL = 1024
"""Values that a constant may have and still be read for shapes that are computed."""
_KERNEL = "_kernel_time"


def network_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs that are not weights; old files list those, too."""
    weights = {tensor.name for tensor in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    return [value for value in graph.input if value.name not in weights]


def input_sizes(model: ModelProto, given: Mapping[str, Shape]) -> dict[str, tuple[int | None, ...]]:
    """Sizes of every input for one sample: of the file, else as `given`, else 1 for the batch; None where unknown."""
    found: dict[str, tuple[int | None, ...]] = {}
    for value in network_inputs(model.graph):
        dims = value.type.tensor_type.shape.dim
        wanted = given.get(value.name, ())
        sizes: list[int | None] = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
        sizes = [size or (wanted[axis] if axis < len(wanted) else None) for axis, size in enumerate(sizes)]
        axis = _batch_axis([dim.dim_value for dim in dims])
        if axis is not None:
            sizes[axis] = 1
        found[value.name] = tuple(sizes)
    return found


def _batch_axis(sizes: Sequence[int]) -> int | None:
    """The first axis where the file leaves it open, 0 or -1; the second of (steps, batch, features)."""
    if sizes and sizes[0] <= 0:
        return 0
    return 1 if [size <= 0 for size in sizes] == [False, True, False] else None


def fixed_batch(model: ModelProto) -> int:
    """The number of samples that a file is made for; 1 where it takes any."""
    shapes = [[dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in network_inputs(model.graph)]
    shape = next(filter(None, shapes), [1])
    return shape[0] if _batch_axis(shape) is None else 1


def inferred_shapes(model: ModelProto, sizes: Mapping[str, Sequence[int | None]]) -> dict[str, Shape]:
    """Shapes that follow from the inputs' sizes by ONNX's shape inference; what it does not know is not there.

    Where it loses the thread, a shape of the file itself is taken, if it has numbers only.
    """
    light = _without_weights(model)
    written = _complete(light.graph.value_info)
    del light.graph.value_info[:]
    for value in light.graph.output:  # its batch may be the file's
        value.type.tensor_type.ClearField("shape")
    for value in light.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ()), strict=False):
            if size is not None:
                dim.dim_value = size
    try:
        light = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # it stops at nodes that it takes for wrong, which an engine may know how to run
        return written
    graph = light.graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return written | _complete([*graph.input, *graph.output, *graph.value_info]) | constants


def _complete(values: Sequence[ValueInfoProto]) -> dict[str, Shape]:
    """The shapes in which every dimension is a number."""
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.dim_value > 0 for dim in tensor.shape.dim):
            found[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return found


def _without_weights(model: ModelProto) -> ModelProto:
    """A copy without the values of its weights: inference neither needs them nor takes more than 2 GB."""
    light = ModelProto()
    light.CopyFrom(model)
    for tensor in light.graph.initializer:
        if np.prod(tensor.dims) > _SMALL:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
            tensor.raw_data = b""
    return light


def executed_calls(model: ModelProto, sizes: Mapping[str, Sequence[int | None]]) -> list[list[NodeCall]]:
    """Every execution of every node, in the order of `all_nodes`, in one inference of ONNX Runtime on zeros.

    Nodes in the body of a loop are executed as often as the loop goes round. StageError when it does not run the file.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    nodes = list(all_nodes(copy.graph))
    for index, node in enumerate(nodes):
        node.name = f"node{index}"
    calls: list[list[NodeCall]] = [[] for _ in nodes]
    for event in _profile(copy, sizes):
        name = str(event["name"]).removesuffix(_KERNEL)
        if name.startswith("node") and name[4:].isdigit() and int(name[4:]) < len(nodes):
            index = int(name[4:])
            calls[index].append(_call(nodes[index], event["args"]))
    return calls


def _call(node: NodeProto, arguments: Mapping[str, Any]) -> NodeCall:
    """The profile leaves out the inputs and outputs that are absent."""
    return NodeCall(
        node,
        _aligned(node.input, arguments["input_type_shape"]),
        _aligned(node.output, arguments["output_type_shape"]),
    )


def _aligned(names: Sequence[str], tensors: Sequence[Mapping[str, Sequence[int]]]) -> list[Shape | None]:
    shapes = [tuple(shape) for tensor in tensors for shape in tensor.values()]
    if len(shapes) != sum(map(bool, names)):  # a sequence or an optional among them
        return [None] * len(names)
    rest = iter(shapes)
    return [next(rest) if name else None for name in names]


def _profile(model: ModelProto, sizes: Mapping[str, Sequence[int | None]]) -> list[Mapping[str, Any]]:
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="quant-harness-shapes-") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # A weight that was packed is not in the profile.
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        feeds = _zeros(model, sizes)
        try:
            path = Path(folder) / "model.onnx"
            onnx.save(model, path, save_as_external_data=model.ByteSize() > 2**30)
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            session.run(None, feeds)
        except Exception as error:  # the binding raises many kinds
            raise StageError(f"ONNX Runtime cannot run the file: {str(error).strip().splitlines()[0]}") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [each for each in events if each.get("cat") == "Node" and str(each["name"]).endswith(_KERNEL)]


def _zeros(model: ModelProto, sizes: Mapping[str, Sequence[int | None]]) -> dict[str, np.ndarray[Any, Any]]:
    feeds = {}
    for value in network_inputs(model.graph):
        shape = [size for size in sizes[value.name] if size is not None]
        if len(shape) < len(sizes[value.name]):
            wanted = "x".join(str(size or "?") for size in sizes[value.name])
            raise StageError(f"the size of its input `{value.name}` is {wanted}")
        element_type = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = np.zeros(shape, element_type)
    return feeds
