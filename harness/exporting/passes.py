"""Rewrites of an exported graph: what engines fuse better, and nothing that changes a result beyond rounding."""

from __future__ import annotations

import ast
from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from harness.exporting.graph_edit import (
    constant,
    dequantize_of,
    drop_unread_initializer,
    free_name,
    initializer,
    insert,
    replace,
    set_initializer,
)

_SCOPES = "pkg.torch.onnx.name_scopes"
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INT32_MAX = 2**31 - 1
_LARGEST_BIAS = 2**30
"""A channel whose int32 bias would be larger gets a coarser weight scale."""


def name_nodes_after_modules(model: ir.Model) -> None:
    """Name each node after the module it came from, so that audits speak the user's language."""
    taken: Counter[str] = Counter()
    for node in model.graph:
        scopes = [str(scope) for scope in ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))]
        module = next((scope for scope in reversed(scopes[:-1]) if scope and not scope.startswith("_")), "")
        is_layer = node.op_type in _WEIGHTED and module
        name = module if is_layer else f"{module}/{node.op_type}" if module else node.op_type
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}#{taken[name]}"


def strip_metadata(model: ir.Model) -> None:
    """Remove what the exporter notes about the machine: stack traces with local paths among it."""
    common.ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.doc_string = None
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in (*graph.inputs, *graph.initializers.values(), *(each for node in graph for each in node.outputs)):
            value.metadata_props.clear()


def use_global_average_pool(model: ir.Model) -> None:
    """Turn the mean over height and width into GlobalAveragePool, which ONNX Runtime has an integer kernel for."""
    for node in list(model.graph):
        if node.op_type != "ReduceMean" or node.domain != "":
            continue
        source = node.inputs[0]
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        rank = None if source is None or source.shape is None else len(source.shape)
        if rank == 4 and axes is not None and sorted(int(axis) % 4 for axis in axes.reshape(-1)) == [2, 3]:
            if node.attributes.get_int("keepdims", 1) == 0:
                source = insert(model, node, "GlobalAveragePool", [source], {}).outputs[0]
                replace(model, node, "Flatten", [source], {"axis": 1})
            else:
                replace(model, node, "GlobalAveragePool", [source], {})


def use_flatten(model: ir.Model) -> None:
    """Turn the reshape to (batch, constant) of `flatten(1)` into Flatten: no shape arithmetic is left in the graph."""
    for node in list(model.graph):
        if node.op_type != "Reshape" or node.domain != "":
            continue
        source, shape = node.inputs[:2]
        output_shape = node.outputs[0].shape
        concat = shape.producer() if shape is not None else None
        dynamic = concat is not None and concat.op_type == "Concat" and len(concat.inputs) == 2
        if dynamic and source is not None and source.shape is not None and output_shape is not None:
            kept = source.shape[0] == output_shape[0] and len(output_shape) == 2 and len(source.shape) > 2
            if kept and isinstance(output_shape[1], int):
                replace(model, node, "Flatten", [source], {"axis": 1})


def use_constant_shapes(model: ir.Model) -> None:
    """Turn a reshape to a computed shape with one unknown dimension into one to a constant shape."""
    for node in list(model.graph):
        shape = node.outputs[0].shape if node.op_type == "Reshape" and node.domain == "" else None
        if shape is None or constant(node.inputs[1]) is not None:
            continue
        sizes = [size if isinstance(size, int) else -1 for size in shape]
        if sizes.count(-1) <= 1:
            node.replace_input_with(1, initializer(model, np.array(sizes, np.int64), f"{node.name}.shape"))


def drop_unused(model: ir.Model) -> None:
    """Remove nodes and initializers that nothing reads."""
    common.RemoveUnusedNodesPass()(model)


def dequantize_across_channels(model: ir.Model) -> None:
    """Write weights whose scales do not run along the layer's output channels as float constants of the same values.

    A tied weight may be quantized for another layer that reads it transposed. ONNX Runtime fuses such a
    DequantizeLinear into an integer kernel that takes the scales for those of the output channels, and is wrong.
    """
    for node in list(model.graph):
        if node.op_type not in _WEIGHTED or len(node.inputs) < 2:
            continue
        transpose = node.inputs[1].producer() if node.inputs[1] is not None else None
        is_transposed = transpose is not None and transpose.op_type == "Transpose"
        reader = transpose if transpose is not None and is_transposed else node
        index = 0 if is_transposed else 1
        dequantize = dequantize_of(reader.inputs[index])
        values = _dequantized_across(dequantize, _channel_axis(node, is_transposed)) if dequantize is not None else None
        if values is not None:
            set_initializer(model, reader, index, values, f"{node.name}.weight")


def _channel_axis(node: ir.Node, is_transposed: bool) -> int:
    """Along which axis of its weight the output channels lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return int(bool(node.attributes.get_int("transB", 0)) == is_transposed)
    return 0 if is_transposed and node.op_type == "MatMul" else 1


def _dequantized_across(dequantize: ir.Node, channel_axis: int) -> npt.NDArray[np.generic] | None:
    """The values of a weight with scales along another axis; None where one integer kernel fits them."""
    integers, scale = (constant(value) for value in dequantize.inputs[:2])
    if integers is None or scale is None or scale.ndim != 1 or integers.ndim < 2:
        return None
    axis = dequantize.attributes.get_int("axis", 1) % integers.ndim
    if axis == channel_axis:
        return None
    zero_point = constant(dequantize.inputs[2]) if len(dequantize.inputs) > 2 else None
    shape = [-1 if each == axis else 1 for each in range(integers.ndim)]
    zero = 0 if zero_point is None else zero_point.astype(np.float32).reshape(shape)
    return np.asarray((integers.astype(np.float32) - zero) * scale.astype(np.float32).reshape(shape))


def own_weights(model: ir.Model) -> None:
    """Give each layer that multiplies by an integer weight its own dequantization of it.

    A module that is called twice shares one. The passes below write scales per layer, and so does ONNX Runtime's
    conversion of int8 weights to uint8 for CPUs without VNNI, which fails on shared ones.
    """
    for node in list(model.graph):
        dequantize = _weight_dequantization(node)
        if dequantize is None or len(list(dequantize.outputs[0].uses())) == 1:
            continue
        copy = ir.node("DequantizeLinear", list(dequantize.inputs), dict(dequantize.attributes), name=dequantize.name)
        copy.outputs[0].type, copy.outputs[0].shape = dequantize.outputs[0].type, dequantize.outputs[0].shape
        copy.metadata_props.update(dequantize.metadata_props)
        model.graph.insert_before(node, copy)
        node.replace_input_with(1, copy.outputs[0])


def own_weight_constants(model: ir.Model) -> None:
    """Give each integer weight its own scale and zero point, named after its layer.

    The exporter shares equal constants between layers; ONNX Runtime's conversion of int8 weights to uint8 for CPUs
    without VNNI rewrites them per layer and fails on shared ones.
    """
    for node in list(model.graph):
        dequantize = _weight_dequantization(node)
        if dequantize is None:
            continue
        for index, name in enumerate(("weight", "weight_scale", "weight_zero_point")):
            array = constant(dequantize.inputs[index]) if index < len(dequantize.inputs) else None
            if array is not None:
                set_initializer(model, dequantize, index, array, f"{node.name}.{name}")
        dequantize.name = f"{node.name}/DequantizeWeight"


def _weight_dequantization(node: ir.Node) -> ir.Node | None:
    dequantize = dequantize_of(node.inputs[1]) if node.op_type in _WEIGHTED and len(node.inputs) > 1 else None
    return dequantize if dequantize is not None and constant(dequantize.inputs[0]) is not None else None


def fix_names(model: ir.Model) -> None:
    """Number the names that two values or two nodes have: modules and parameters may be called anything."""
    common.NameFixPass()(model)


def quantize_biases(model: ir.Model) -> None:
    """Write the float bias of every integer Conv and Gemm as int32 with scale = input scale x weight scale."""
    for node in list(model.graph):
        if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2 and node.inputs[2] is not None:
            _quantize_bias(model, node)


def _quantize_bias(model: ir.Model, node: ir.Node) -> None:
    activation, weight = (dequantize_of(value) for value in node.inputs[:2])
    bias_value = node.inputs[2]
    bias = constant(bias_value)
    if activation is None or weight is None or bias is None or bias_value is None:
        return
    input_scale, weight_scale = constant(activation.inputs[1]), constant(weight.inputs[1])
    integers = constant(weight.inputs[0])
    if input_scale is None or weight_scale is None or integers is None:
        return
    # Nearly dead channels have a tiny scale; a bias in units of it would not fit into int32.
    needed = np.abs(bias) / (input_scale * _LARGEST_BIAS)
    if weight_scale.ndim == 0:
        needed = needed.max(initial=0.0)
    widened = np.maximum(weight_scale, needed).astype(np.float32)
    if np.any(widened > weight_scale):
        ratio = (weight_scale / widened).reshape(widened.shape + (1,) * (integers.ndim - widened.ndim))
        set_initializer(model, weight, 0, np.rint(integers * ratio).astype(integers.dtype), f"{node.name}.weight")
        set_initializer(model, weight, 1, widened, f"{node.name}.weight_scale")

    scale = (input_scale * widened).astype(np.float32)
    quantized = np.clip(np.rint(bias / scale), -_INT32_MAX, _INT32_MAX).astype(np.int32)
    inputs = [
        initializer(model, quantized, f"{node.name}.bias_int32"),
        initializer(model, scale, f"{node.name}.bias_scale"),
    ]
    attributes = [ir.AttrInt64("axis", 0)] if scale.ndim else []
    dequantize = ir.Node("", "DequantizeLinear", inputs, attributes, name=f"{node.name}/DequantizeBias")
    dequantize.outputs[0].name = free_name(model, f"{node.name}.bias")
    dequantize.outputs[0].dtype, dequantize.outputs[0].shape = ir.DataType.FLOAT, ir.Shape(quantized.shape)
    model.graph.insert_before(node, dequantize)
    node.replace_input_with(2, dequantize.outputs[0])
    drop_unread_initializer(model, bias_value)
