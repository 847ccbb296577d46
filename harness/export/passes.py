"""Rewrites of an exported graph: what engines fuse better, and nothing that changes a result beyond rounding."""

from __future__ import annotations

import ast
from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

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
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def use_global_average_pool(model: ir.Model) -> None:
    """Turn the mean over height and width into GlobalAveragePool, which ONNX Runtime has an integer kernel for."""
    for node in list(model.graph):
        if node.op_type != "ReduceMean" or node.domain != "":
            continue
        source = node.inputs[0]
        axes = _constant(node.inputs[1]) if len(node.inputs) > 1 else None
        rank = None if source is None or source.shape is None else len(source.shape)
        keeps = node.attributes.get_int("keepdims", 1) == 1
        if rank == 4 and keeps and axes is not None and sorted(int(axis) % 4 for axis in axes.reshape(-1)) == [2, 3]:
            _replace(model, node, "GlobalAveragePool", [source], {})


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
                _replace(model, node, "Flatten", [source], {"axis": 1})


def drop_unused(model: ir.Model) -> None:
    """Remove nodes and initializers that nothing reads."""
    ir.passes.common.RemoveUnusedNodesPass()(model)


def own_weight_constants(model: ir.Model) -> None:
    """Give each integer weight its own scale and zero point, named after its layer.

    The exporter shares equal zero points between layers; ONNX Runtime's conversion of int8 weights to uint8 for CPUs
    without VNNI rewrites them per layer and fails on shared ones.
    """
    for node in list(model.graph):
        dequantize = _dequantize(node.inputs[1]) if node.op_type in _WEIGHTED and len(node.inputs) > 1 else None
        if dequantize is None:
            continue
        for index, name in enumerate(("weight", "weight_scale", "weight_zero_point")):
            array = _constant(dequantize.inputs[index]) if index < len(dequantize.inputs) else None
            if array is not None:
                _set_initializer(model, dequantize, index, array, f"{node.name}.{name}")
        dequantize.name = f"{node.name}/DequantizeWeight"


def quantize_biases(model: ir.Model) -> None:
    """Write the float bias of every integer Conv and Gemm as int32 with scale = input scale x weight scale."""
    for node in list(model.graph):
        if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2 and node.inputs[2] is not None:
            _quantize_bias(model, node)


def _quantize_bias(model: ir.Model, node: ir.Node) -> None:
    activation, weight = (_dequantize(value) for value in node.inputs[:2])
    bias_value = node.inputs[2]
    bias = _constant(bias_value)
    if activation is None or weight is None or bias is None or bias_value is None:
        return
    input_scale, weight_scale = _constant(activation.inputs[1]), _constant(weight.inputs[1])
    integers = _constant(weight.inputs[0])
    if input_scale is None or weight_scale is None or integers is None:
        return
    # Nearly dead channels have a tiny scale; a bias in units of it would not fit into int32.
    needed = np.abs(bias) / (input_scale * _LARGEST_BIAS)
    if weight_scale.ndim == 0:
        needed = needed.max(initial=0.0)
    widened = np.maximum(weight_scale, needed).astype(np.float32)
    if np.any(widened > weight_scale):
        ratio = (weight_scale / widened).reshape(widened.shape + (1,) * (integers.ndim - widened.ndim))
        _set_initializer(model, weight, 0, np.rint(integers * ratio).astype(integers.dtype), f"{node.name}.weight")
        _set_initializer(model, weight, 1, widened, f"{node.name}.weight_scale")

    scale = (input_scale * widened).astype(np.float32)
    quantized = np.clip(np.rint(bias / scale), -_INT32_MAX, _INT32_MAX).astype(np.int32)
    inputs = [
        _initializer(model, quantized, f"{node.name}.bias_int32"),
        _initializer(model, scale, f"{node.name}.bias_scale"),
    ]
    attributes = [ir.AttrInt64("axis", 0)] if scale.ndim else []
    dequantize = ir.Node("", "DequantizeLinear", inputs, attributes, name=f"{node.name}/DequantizeBias")
    dequantize.outputs[0].name = f"{node.name}.bias"
    dequantize.outputs[0].dtype, dequantize.outputs[0].shape = ir.DataType.FLOAT, ir.Shape(quantized.shape)
    model.graph.insert_before(node, dequantize)
    node.replace_input_with(2, dequantize.outputs[0])
    _drop_unread(model, bias_value)


def _set_initializer(model: ir.Model, node: ir.Node, index: int, array: npt.NDArray[np.generic], name: str) -> None:
    """Make `array`, under this name, input `index` of `node`; an initializer that nothing else reads goes away."""
    old = node.inputs[index]
    node.replace_input_with(index, None)
    _drop_unread(model, old)
    node.replace_input_with(index, _initializer(model, array, name))


def _drop_unread(model: ir.Model, value: ir.Value | None) -> None:
    if value is not None and value.name is not None and not value.uses() and value.name in model.graph.initializers:
        del model.graph.initializers[value.name]


def _replace(
    model: ir.Model, node: ir.Node, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, int]
) -> None:
    """Put a new node in the place of `node`, with the same output."""
    module = node.name.rpartition("/")[0] if node.name else ""
    new = ir.node(op_type, inputs, attributes, name=f"{module}/{op_type}" if module else op_type)
    old_output, new_output = node.outputs[0], new.outputs[0]
    new_output.name, new_output.shape, new_output.type = old_output.name, old_output.shape, old_output.type
    model.graph.insert_before(node, new)
    old_output.replace_all_uses_with(new_output, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _initializer(model: ir.Model, array: npt.NDArray[np.generic], name: str) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.dtype, value.shape = value.const_value.dtype, ir.Shape(array.shape)  # type: ignore[union-attr]
    model.graph.register_initializer(value)
    return value
