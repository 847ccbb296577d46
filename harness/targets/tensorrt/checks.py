"""What TensorRT refuses without naming the node, or takes and then runs in float: found in the ONNX file first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from harness.errors import StageError, nearest
from harness.exporting.onnx_file import check_operators, load_onnx, name_nodes
from harness.targets.tensorrt.options import ShapeRange, TensorRtBuildOptions

_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
_OUTPUT_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}
_REQUANTIZE = "quantize for the target `tensorrt` or `tensorrt-rtx`, which writes what TensorRT takes"


def load_checked(path: Path, options: TensorRtBuildOptions) -> ModelProto:
    """The model of an ONNX file; StageError, with the node and the fix, for what TensorRT cannot build as it is meant.

    Nodes without a name get one, so that the audit can speak of them.
    """
    model = load_onnx(path)
    name_nodes(model)
    check_operators(model, path.name)
    _check_types(model, path.name)
    _check_quantization(model, path.name, options)
    return model


def profiles(model: ModelProto, options: TensorRtBuildOptions, name: str) -> tuple[dict[str, ShapeRange], ...]:
    """The optimization profiles of the options, by input; empty where no dimension is dynamic.

    StageError for a dynamic input that no profile covers.
    """
    shapes = {value.name: _shape(value) for value in network_inputs(model)}
    dynamic = {input_name: shape for input_name, shape in shapes.items() if None in shape}
    for ranges in options.shape_profiles:
        for input_name, given in ranges.items():
            _check_shapes(input_name, given, shapes, name)
    if not dynamic:
        _check_fixed_batch(shapes, options, name)
        return ()
    if options.shape_profiles:
        for missing in dynamic.keys() - set.intersection(*(set(each) for each in options.shape_profiles)):
            raise _no_profile(name, missing, dynamic[missing])
        return options.shape_profiles
    for input_name, shape in dynamic.items():
        if not options.batch_profiles or None in shape[1:]:
            raise _no_profile(name, input_name, shape)
    if not any(low <= options.batch_size <= high for low, _, high in options.batch_profiles):
        shown = ", ".join(f"[{low}, {best}, {high}]" for low, best, high in options.batch_profiles)
        raise StageError(
            f"{name}: none of the batch profiles {shown} takes a batch of {options.batch_size}",
            fix=f"add one to `batch_profiles`, for instance [1, {options.batch_size}, {options.batch_size}]",
        )
    return tuple(
        {input_name: _with_batch(sizes, shape[1:]) for input_name, shape in dynamic.items()}
        for sizes in options.batch_profiles
    )


def _check_shapes(input_name: str, given: ShapeRange, shapes: Mapping[str, tuple[int | None, ...]], name: str) -> None:
    """What TensorRT would ignore, or refuse without saying which option is meant."""
    if input_name not in shapes:
        guess = nearest(input_name, shapes)
        raise StageError(
            f"{name} has no input `{input_name}`",
            fix=f"did you mean `{guess}`?" if guess else f"its inputs are: {', '.join(shapes)}",
        )
    wanted = shapes[input_name]
    for sizes in (given.min, given.opt, given.max):
        fits = len(sizes) == len(wanted) and all(own in (None, size) for own, size in zip(wanted, sizes, strict=True))
        if not fits:
            shown = "x".join(map(str, sizes))
            raise StageError(
                f"{name}: input `{input_name}` is {_shown(wanted)}, which {shown} does not fit",
                fix="change only sizes that are shown as ?; the others come from the file",
            )


def _check_fixed_batch(shapes: Mapping[str, tuple[int | None, ...]], options: TensorRtBuildOptions, name: str) -> None:
    fixed = next((shape[0] for shape in shapes.values() if shape), None)
    if options.batch_size > 1 and fixed is not None and fixed != options.batch_size:
        raise StageError(
            f"{name} has the fixed batch size {fixed}; {options.batch_size} was asked for",
            fix="export it with a dynamic batch, or leave the batch size out",
        )


def _shown(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _with_batch(sizes: tuple[int, int, int], rest: tuple[int | None, ...]) -> ShapeRange:
    fixed = tuple(size for size in rest if size is not None)
    least, best, most = ((size, *fixed) for size in sizes)
    return ShapeRange(min=least, opt=best, max=most)


def _no_profile(name: str, input_name: str, shape: tuple[int | None, ...]) -> StageError:
    example = "x".join("1" if size is None else str(size) for size in shape)
    return StageError(
        f"{name}: input `{input_name}` has the dynamic shape {_shown(shape)}, "
        "and no profile says which sizes to build for",
        fix=f"give the shape, for instance `--shapes {input_name}:{example}`, or min, opt and max shapes",
    )


def _check_types(model: ModelProto, name: str) -> None:
    wide = [value.name for value in network_inputs(model) if value.type.tensor_type.elem_type == TensorProto.DOUBLE]
    wide += [tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.DOUBLE]
    if wide:
        raise StageError(f"{name}: `{wide[0]}` is float64, which TensorRT has not", fix="export the network in float32")


def _check_quantization(model: ModelProto, name: str, options: TensorRtBuildOptions) -> None:
    constants = _constants(model)
    quantizing = [node for node in model.graph.node if node.op_type in _QUANTIZING]
    if options.expects_int8 and not quantizing:
        raise StageError(
            f"{name} has no Q/DQ nodes, and INT8 was asked for",
            fix="quantize it first: `harness run` with `method: ptq` writes Q/DQ files; TensorRT 11 has no calibrators",
        )
    for node in quantizing:
        _check_node(node, constants, name)
    for message in _weights_on_wrong_axis(model, constants):
        raise StageError(f"{name}: {message}", fix=_REQUANTIZE)


def _check_node(node: NodeProto, constants: dict[str, TensorProto], name: str) -> None:
    scale = _array(constants, node.input[1])
    if scale is not None and not np.all(scale > 0):
        raise StageError(
            f"{name}: node `{node.name}` has the scale {float(scale.min()):g}; scales must be positive",
            fix="calibrate again, on data that is not constant",
        )
    _check_types_of(node, constants, name)
    point = _array(constants, node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if point is None:
        return
    if point.dtype == np.uint8 or np.any(point != 0):
        first = int(point.reshape(-1)[np.argmax(point != 0)])
        raise StageError(
            f"{name}: node `{node.name}` is asymmetric ({point.dtype} with zero point {first}); "
            "TensorRT takes int8 with zero point 0 only",
            fix=_REQUANTIZE,
        )


def _check_types_of(node: NodeProto, constants: dict[str, TensorProto], name: str) -> None:
    """What ONNX and TensorRT read differently, and what TensorRT has no type for."""
    has_point = len(node.input) > 2 and node.input[2]
    if node.op_type == "QuantizeLinear" and not has_point and not any(a.name == "output_dtype" for a in node.attribute):
        raise StageError(
            f"{name}: node `{node.name}` has no zero point: ONNX then quantizes to uint8, TensorRT to int8",
            fix="give it an int8 zero point of 0",
        )
    source = constants.get(node.input[0])
    if node.op_type == "DequantizeLinear" and source is not None and source.data_type == TensorProto.INT32:
        raise StageError(
            f"{name}: node `{node.name}` dequantizes int32, a bias for instance, which TensorRT cannot",
            fix="leave biases in float: `extra_options={'QuantizeBias': False}` of ONNX Runtime's `quantize_static`",
        )


def _weights_on_wrong_axis(model: ModelProto, constants: dict[str, TensorProto]) -> Iterator[str]:
    """TensorRT runs such convolutions in float, and does not say so."""
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        dequantize = producers.get(node.input[1]) if node.op_type in _OUTPUT_CHANNEL_AXIS else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        scale = _array(constants, dequantize.input[1])
        wanted = _OUTPUT_CHANNEL_AXIS[node.op_type]
        axis = next((attribute.i for attribute in dequantize.attribute if attribute.name == "axis"), 1)
        if scale is not None and scale.size > 1 and axis != wanted:
            yield f"the weight of `{node.name}` is quantized along axis {axis}; its output channels are axis {wanted}"


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    """Initializers, and what `Constant` nodes hold, by name."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], each.t) for each in node.attribute if each.name == "value")
    return found


def _array(constants: dict[str, TensorProto], name: str) -> npt.NDArray[Any] | None:
    return onnx.numpy_helper.to_array(constants[name]) if name in constants else None


def network_inputs(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that have to be fed: files of old exporters list the constants, too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """None where a size is dynamic, for which some exporters write -1."""
    return tuple(each.dim_value if each.dim_value > 0 else None for each in value.type.tensor_type.shape.dim)
