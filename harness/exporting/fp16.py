"""FP16 written into an ONNX file: engines with strongly typed networks take their types from it.

onnxruntime's converter (onnxconverter-common's, with fixes) rewrites the types. What it does not decide is decided
here: which nodes must stay in FP32 because their values do not fit, and how weight scales too small for FP16 are
written. The result is then run against the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto
from onnx_ir.passes import common

from harness.errors import StageError
from harness.exporting.onnx_file import load_onnx, name_nodes
from harness.exporting.onnxruntime_errors import explain
from harness.results import Record

if TYPE_CHECKING:
    Array = npt.NDArray[Any]
    Floats = npt.NDArray[np.float32]

FP16_MAX = float(np.finfo(np.float16).max)
FP16_TINY = float(np.finfo(np.float16).tiny)
"""The smallest number with all 11 bits, 6.1e-5."""
RANGE_MARGIN = 2.0
"""Nodes stay in FP32 whose values come within this factor of the largest FP16 number on the samples."""
TOLERANCE = 0.01
"""Root mean square of the outputs' error over that of the outputs, for networks without Q/DQ."""
QUANTIZED_TOLERANCE = 0.10
"""The same with Q/DQ, where values on the edge between two steps fall to the other side; 0.1 is an SQNR of 20 dB."""
SCALES_OPSET = 19
"""The first one with FP16 scales."""
_Q_DQ = ("QuantizeLinear", "DequantizeLinear")
_NO_OPTIMIZATION = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


class Fp16Report(Record):
    """What converting did."""

    kept_fp32: dict[str, str]
    """Nodes that stay in FP32, with the reason."""
    rescaled_weights: tuple[str, ...]
    """Weights of which some channel's scale was raised to a number that FP16 has."""
    error: float
    """Relative error of the outputs to the original's, see `relative_error`."""
    samples: int


def convert_to_fp16(source: Path, path: Path, samples: Floats) -> Fp16Report:
    """Write `source` to `path` with FP16 inside; inputs and outputs of the network stay FP32.

    `samples` (N, C, H, W) are run through the network to find values that FP16 cannot hold, and to compare the outputs.
    Raises StageError when the outputs differ by more than `TOLERANCE`.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = _with_fp16_scales(load_onnx(source), source.name)
    name_nodes(model)
    rescaled = rescale_small_weights(model)
    try:
        kept = nodes_out_of_range(model, samples)
    except Exception as failure:  # ONNX Runtime raises many kinds
        raise explain(failure, model, source.name) from failure
    converted = _without_round_trips(convert_float_to_float16(model, keep_io_types=True, node_block_list=list(kept)))
    onnx.save(converted, path)
    _check(path)
    expected, got = _outputs(str(source), samples), _outputs(_with_stored_values(converted), samples)
    error = relative_error(expected, got)
    limit = QUANTIZED_TOLERANCE if any(node.op_type in _Q_DQ for node in model.graph.node) else TOLERANCE
    if not error <= limit:
        raise StageError(
            f"in FP16 the outputs of {source.name} change by {error:.1%} (root mean square), more than {limit:.0%}",
            fix="keep this network in FP32: `high_precision: fp32`, or leave `fp16` out",
        )
    return Fp16Report(kept_fp32=kept, rescaled_weights=rescaled, error=error, samples=len(samples))


def _with_fp16_scales(model: ModelProto, name: str) -> ModelProto:
    """The model in an opset whose Q/DQ nodes may have FP16 scales."""
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), SCALES_OPSET)
    if opset >= SCALES_OPSET or not any(node.op_type in _Q_DQ for node in model.graph.node):
        return model
    try:
        return onnx.version_converter.convert_version(model, SCALES_OPSET)
    except Exception as error:  # the converter raises many kinds
        raise StageError(
            f"{name} has opset {opset}, in which Q/DQ scales cannot be FP16, and onnx cannot convert it to a later one",
            fix=f"export with opset {SCALES_OPSET} or later",
        ) from error


def is_fp16(path: Path) -> bool:
    """Whether a file has FP16 constants already; StageError for a file that cannot be read."""
    return any(tensor.data_type == TensorProto.FLOAT16 for tensor in load_onnx(path).graph.initializer)


def rescale_small_weights(model: ModelProto) -> tuple[str, ...]:
    """Raise weight scales below FP16's normal range to the next FP16 number, and divide the integers accordingly.

    Nearly dead channels have such scales. FP16 rounds them coarsely or to zero; this way the product of scale and
    integer keeps the error of one rounding.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = []
    for node in model.graph.node:
        is_weight = node.op_type == "DequantizeLinear" and {node.input[0], node.input[1]} <= constants.keys()
        if not is_weight or constants[node.input[0]].data_type != TensorProto.INT8:
            continue
        integers, scale = (onnx.numpy_helper.to_array(constants[name]) for name in node.input[:2])
        small = scale < FP16_TINY
        if not small.any():
            continue
        raised = np.where(small, _next_half(scale), scale).astype(np.float32)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [-1 if index == axis else 1 for index in range(integers.ndim)] if scale.ndim else []
        ratio = (scale / raised).reshape(shape)
        _store(constants[node.input[0]], np.rint(integers * ratio).astype(np.int8))
        _store(constants[node.input[1]], raised)
        changed.append(node.name)
    return tuple(changed)


def nodes_out_of_range(model: ModelProto, samples: Floats) -> dict[str, str]:
    """Nodes that read or write values that FP16 cannot hold, with the reason, and the Q/DQ nodes that feed them."""
    limit = FP16_MAX / RANGE_MARGIN
    largest = _largest_values(model, samples)
    kept: dict[str, str] = {}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        over = [name for name in (*node.input, *node.output) if largest.get(name, 0.0) > limit]
        if over:
            kept[node.name] = f"`{over[0]}` reaches {largest[over[0]]:.3g}; FP16 ends at {FP16_MAX:.0f}"
            # A cast between DequantizeLinear and what it feeds would keep the engine from fusing them.
            for feeding in _dequantizing(node, producers):
                kept.setdefault(feeding.name, f"feeds `{node.name}`, which stays in FP32")
    return kept


def relative_error(expected: Floats, got: Floats) -> float:
    """Root mean square of the difference over that of `expected`; infinite where `got` is not finite."""
    if not np.isfinite(got).all():
        return float("inf")
    wanted = expected.astype(np.float64)
    return float(np.sqrt(np.mean((got - wanted) ** 2)) / max(float(np.sqrt(np.mean(wanted**2))), FP16_TINY))


def _next_half(values: Array) -> Array:
    """The smallest FP16 number that is not below each value."""
    nearest = values.astype(np.float16)
    return np.where(nearest.astype(np.float32) < values, np.nextafter(nearest, np.float16(1)), nearest).astype(
        np.float32
    )


def _dequantizing(node: NodeProto, producers: Mapping[str, NodeProto]) -> Iterable[NodeProto]:
    for name in node.input:
        dequantize = producers.get(name)
        if dequantize is not None and dequantize.op_type == "DequantizeLinear":
            yield dequantize
            quantize = producers.get(dequantize.input[0])
            if quantize is not None:
                yield quantize


def _largest_values(model: ModelProto, samples: Floats) -> dict[str, float]:
    """Largest |x| of every FP32 tensor: constants, and activations on the samples."""
    largest = {
        tensor.name: float(np.abs(values).max())
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and (values := onnx.numpy_helper.to_array(tensor)).size
    }
    inferred = onnx.shape_inference.infer_shapes(model)
    computed = {output for node in model.graph.node for output in node.output}
    inner = [
        value
        for value in inferred.graph.value_info
        if value.name in computed and value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    probe = ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(inner)
    session = _session(probe.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    for batch in _batches(samples, session):
        for name, values in zip(names, session.run(None, {session.get_inputs()[0].name: batch}), strict=True):
            if values.dtype == np.float32 and values.size:
                largest[name] = max(largest.get(name, 0.0), float(np.abs(values).max()))
    return largest


def _outputs(model: str | bytes, samples: Floats) -> Floats:
    session = _session(model)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: batch})[0] for batch in _batches(samples, session)])


def _session(model: str | bytes) -> onnxruntime.InferenceSession:
    """Without optimizations: with them ONNX Runtime misjudges Q/DQ nodes whose scales are FP16."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _NO_OPTIMIZATION
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _batches(samples: Floats, session: onnxruntime.InferenceSession) -> Sequence[Floats]:
    """One sample each, or as many as a fixed batch has: it is filled up with the first ones."""
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) and fixed > 0 else 1
    chosen = np.arange(-(-len(samples) // size) * size) % len(samples)
    return [samples[chosen[start : start + size]] for start in range(0, len(chosen), size)]


def _store(tensor: TensorProto, array: Array) -> None:
    name = tensor.name
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))


def _without_round_trips(converted: ModelProto) -> ModelProto:
    """FP32 nodes joined directly: between them the converter casts to FP16, where large values are infinite, and back.

    It also appends its casts at the end; here each node comes after those that it reads.
    """
    model = ir.from_proto(converted)
    outputs = model.graph.outputs
    for node in [each for each in model.graph if _casts_to(each, ir.DataType.FLOAT)]:
        narrowing = node.inputs[0].producer() if node.inputs[0] is not None else None
        wide = narrowing.inputs[0] if narrowing is not None and _casts_to(narrowing, ir.DataType.FLOAT16) else None
        output = node.outputs[0]
        if wide is None or wide.producer() is None or (wide in outputs and output in outputs):
            continue
        if output in outputs:  # its name must stay
            name, output.name = output.name, None
            wide.name = name
        output.replace_all_uses_with(wide, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
    ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.TopologicalSortPass())(model)
    return ir.to_proto(model)


def _casts_to(node: ir.Node, data_type: ir.DataType) -> bool:
    return node.op_type == "Cast" and node.attributes.get_int("to") == data_type


def _with_stored_values(model: ModelProto) -> bytes:
    """The model with a copy behind every node.

    ONNX Runtime computes FP16 nodes in FP32 on a CPU and hands the FP32 values on; a copy has a kernel of its own for
    FP16, so that every value is rounded, and overflows, as it will when an engine stores it.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.node[:]
    for node in model.graph.node:
        copied = probe.graph.node.add()
        copied.CopyFrom(node)
        for index, name in enumerate(node.output):
            if name:
                copied.output[index] = f"{name}/computed"
                probe.graph.node.append(onnx.helper.make_node("Identity", [f"{name}/computed"], [name]))
    del probe.graph.value_info[:]
    return bytes(probe.SerializeToString())


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(
            f"onnx.checker refuses {path.name} in FP16: {str(error).strip().splitlines()[0]}",
            fix="export with opset 19 or later, which has FP16 scales",
        ) from error
