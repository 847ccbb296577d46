"""Matrix products with a constant matrix as `Gemm`, the only form that ONNX Runtime runs whole on integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from harness.exporting.graph_edit import constant, dequantize_of, initializer

_ABSORBED = ("Relu", "Clip")


class _Product(NamedTuple):
    """`MatMul(source, matrix) + bias`, the matrix (N, K) when transposed, else (K, N)."""

    matmul: ir.Node
    source: ir.Value
    matrix: ir.Value
    is_transposed: bool
    bias: ir.Value | None
    last: ir.Node
    """The add, or the product itself."""


def use_gemm(model: ir.Model) -> None:
    """Turn a `MatMul` with a constant matrix, and the bias added to it, into Reshape, Gemm, Reshape.

    A linear layer on (N, T, C) is exported as MatMul and Add. ONNX Runtime turns that into a float Gemm between
    integer reshapes. Reshaping the integers before they are dequantized leaves Q/DQ around the Gemm.
    """
    for node in list(model.graph):
        product = _product(node) if node.op_type == "MatMul" and node.domain == "" else None
        if product is not None:
            _rewrite(model, product)


def _product(node: ir.Node) -> _Product | None:
    source, matrix = node.inputs
    output_shape = node.outputs[0].shape
    if source is None or matrix is None or source.shape is None or output_shape is None:
        return None
    producer = matrix.producer()
    is_transposed = producer is not None and producer.op_type == "Transpose"
    if is_transposed and producer is not None and producer.inputs[0] is not None:
        matrix = producer.inputs[0]
    held = dequantize_of(matrix)
    array = constant(held.inputs[0] if held is not None else matrix)
    if array is None or array.ndim != 2 or sum(not isinstance(size, int) for size in output_shape) > 1:
        return None
    bias, last = None, node
    users = [use.node for use in node.outputs[0].uses()]
    if len(users) == 1 and users[0].op_type == "Add":
        other = next((value for value in users[0].inputs if value is not node.outputs[0]), None)
        offsets = constant(other)
        if offsets is not None and offsets.ndim == 1:
            bias, last = other, users[0]
    return _Product(node, source, matrix, is_transposed, bias, last)


def _rewrite(model: ir.Model, product: _Product) -> None:
    matmul, last = product.matmul, product.last
    shape = last.outputs[0].shape
    assert shape is not None and product.source.shape is not None
    # A reshape of an integer tensor goes in front of the DequantizeLinear, so that the Gemm still follows it.
    source: ir.Value | None = product.source
    if len(product.source.shape) > 2:
        dequantize = dequantize_of(source)
        rows = [-1, int(product.source.shape[-1])]  # type: ignore[arg-type]  # as many as the matrix has
        source = _reshaped(model, dequantize.inputs[0] if dequantize else source, rows, f"{matmul.name}/Rows", last)
        if dequantize is not None:
            again = ir.node("DequantizeLinear", [source, *dequantize.inputs[1:]], name=f"{matmul.name}/DequantizeInput")
            again.outputs[0].type = product.source.type
            model.graph.insert_before(last, again)
            source = again.outputs[0]
    inputs = [source, product.matrix, *([product.bias] if product.bias is not None else [])]
    gemm = ir.node("Gemm", inputs, {"transB": int(product.is_transposed)}, name=matmul.name)
    model.graph.insert_before(last, gemm)
    gemm.outputs[0].type = last.outputs[0].type
    old = last.outputs[0]
    old_name, old_shape = old.name, old.shape
    gemm.outputs[0].name, gemm.outputs[0].shape, old.name = old_name, old_shape, None
    old.replace_all_uses_with(gemm.outputs[0], replace_graph_outputs=True)
    model.graph.remove(last, safe=True)
    if last is not matmul:
        model.graph.remove(matmul, safe=True)
    assert old_shape is not None
    if len(old_shape) > 2:
        _restore_shape(model, gemm, old_shape)


def _restore_shape(model: ir.Model, gemm: ir.Node, shape: ir.Shape) -> None:
    """Reshape what leaves the Gemm, after the activation function and the quantization that engines fuse into it."""
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    tail = gemm
    chain = _single_user(tail)
    if chain is not None and chain.op_type in _ABSORBED and _quantizer_after(chain) is not None:
        tail, chain = chain, _quantizer_after(chain)
    if chain is not None and chain.op_type == "QuantizeLinear":
        tail = chain
    value = tail.outputs[0]
    uses = list(value.uses())
    reshape = ir.node(
        "Reshape",
        [value, initializer(model, np.array(sizes, np.int64), f"{gemm.name}/Restored.shape")],
        name=f"{gemm.name}/Restored",
    )
    reshape.outputs[0].type, reshape.outputs[0].shape = value.type, ir.Shape(shape)
    model.graph.insert_after(tail, reshape)
    for user, index in uses:
        user.replace_input_with(index, reshape.outputs[0])
    for position, output in enumerate(model.graph.outputs):
        if output is value:
            reshape.outputs[0].name, value.name = value.name, f"{gemm.name}/rows"
            model.graph.outputs[position] = reshape.outputs[0]
    node: ir.Node | None = gemm
    while node is not None:
        node.outputs[0].shape = None  # rows times columns now; shape inference finds it
        node = None if node is tail else _single_user(node)


def _reshaped(model: ir.Model, value: ir.Value | None, sizes: list[int], name: str, before: ir.Node) -> ir.Value:
    assert value is not None
    node = ir.node("Reshape", [value, initializer(model, np.array(sizes, np.int64), f"{name}.shape")], name=name)
    node.outputs[0].type = value.type
    model.graph.insert_before(before, node)
    return node.outputs[0]


def _single_user(node: ir.Node) -> ir.Node | None:
    users = [use.node for use in node.outputs[0].uses()]
    return users[0] if len(users) == 1 else None


def _quantizer_after(node: ir.Node) -> ir.Node | None:
    user = _single_user(node)
    return user if user is not None and user.op_type == "QuantizeLinear" else None
