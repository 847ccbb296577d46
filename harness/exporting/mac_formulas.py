"""Multiply-accumulates of one ONNX node from the shapes of its inputs and outputs.

Counted is what a matrix product, a convolution, a recurrent cell or an attention multiplies and adds up. Elementwise
products, normalizations, activation functions and pooling are not counted, as is the custom of the field
(`torch.utils.flop_counter` counts two operations for each of these multiply-accumulates).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto, helper

Shape = tuple[int, ...]


class UnknownShapeError(Exception):
    """A shape that the count needs is not known."""


@dataclass(frozen=True)
class NodeCall:
    """One execution of a node; None for the shape of a tensor that is absent or not known."""

    node: NodeProto
    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape | None]

    def input(self, index: int) -> Shape:
        """The shape of an input that the count needs."""
        return _known(self.inputs, index)

    def output(self, index: int = 0) -> Shape:
        """The shape of an output that the count needs."""
        return _known(self.outputs, index)

    def has_input(self, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.node.input) and self.node.input[index] != ""

    def attribute(self, name: str, default: Any) -> Any:
        """The value of an attribute."""
        return next((helper.get_attribute_value(each) for each in self.node.attribute if each.name == name), default)


def _known(shapes: Sequence[Shape | None], index: int) -> Shape:
    shape = shapes[index] if index < len(shapes) else None
    if shape is None:
        raise UnknownShapeError
    return shape


@dataclass(frozen=True)
class Product:
    """An operator that multiplies."""

    macs: Callable[[NodeCall], int]
    factors: tuple[int, ...] | None = (0, 1)
    """Indices of the inputs that are multiplied with each other; None for all."""


def product_of(node: NodeProto) -> Product | None:
    """How the operator multiplies; None for operators that do not."""
    return _PRODUCTS.get(node.op_type)


def factors(node: NodeProto) -> tuple[str, ...]:
    """Names of the tensors, two at least, that the node multiplies with each other; empty where it does not."""
    product = product_of(node)
    if product is None:
        return ()
    positions = range(len(node.input)) if product.factors is None else product.factors
    names = tuple(node.input[each] for each in positions if each < len(node.input) and node.input[each])
    if len(names) == 1 and node.op_type in _PACKED:
        return names * 2
    return names if len(names) > 1 else ()


_PACKED = {"MultiHeadAttention", "GroupQueryAttention"}
"""Queries, keys and values may be one tensor."""


def _convolution(weight: int) -> Callable[[NodeCall], int]:
    """Every output value is the sum over the kernel of its group: (N, M, …) times (M, C / groups, kernel…)."""
    return lambda call: math.prod(call.output()) * math.prod(call.input(weight)[1:])


def _transposed_convolution(call: NodeCall) -> int:
    """Every input value meets the kernels of its group's outputs: (N, C, …) times (C, M / groups, kernel…)."""
    return math.prod(call.input(0)) * math.prod(call.input(1)[1:])


def _deformable_convolution(call: NodeCall) -> int:
    """As a convolution; the interpolation between input values is not counted."""
    return math.prod(call.output()) * math.prod(call.input(1)[1:])


def _gemm(call: NodeCall) -> int:
    inner = call.input(0)[0 if call.attribute("transA", 0) else 1]
    return math.prod(call.output()) * inner


def _matmul(call: NodeCall) -> int:
    left = call.input(0)
    inner = left[-2] if call.attribute("transA", 0) and len(left) > 1 else left[-1]
    return math.prod(call.output()) * inner


def _quantized_matmul(call: NodeCall) -> int:
    return math.prod(call.output()) * call.input(0)[-1]


def _block_quantized_matmul(call: NodeCall) -> int:
    return math.prod(call.output()) * int(call.attribute("K", call.input(0)[-1]))


def _recurrent(gates: int) -> Callable[[NodeCall], int]:
    """Each step, direction and gate multiplies the input and the state: X (T, N, I), W (D, G·H, I), R (D, G·H, H)."""

    def macs(call: NodeCall) -> int:
        steps, batch = call.input(0)[:2] if not call.attribute("layout", 0) else call.input(0)[1::-1]
        hidden = int(call.attribute("hidden_size", 0)) or call.input(2)[-1 if call.node.op_type in _CELLS else 1]
        directions = call.input(1)[0]
        return steps * batch * directions * gates * hidden * (call.input(0)[2] + hidden)

    return macs


_CELLS = {"RNN", "GRU", "LSTM"}
"""`DynamicQuantizeLSTM` holds R transposed."""


def _attention(call: NodeCall) -> int:
    """`Attention` of ONNX: Q (N, H, Lq, D) or (N, Lq, H·D), K and V alike, after the keys and values of the past."""
    query, key, value = (call.input(index) for index in range(3))
    heads = query[1] if len(query) == 4 else int(call.attribute("q_num_heads", 1))
    kv_heads = key[1] if len(key) == 4 else int(call.attribute("kv_num_heads", heads))
    keys = key[-2] + (call.input(4)[-2] if call.has_input(4) else 0)
    width = query[-1] if len(query) == 4 else query[-1] // heads
    value_width = value[-1] if len(value) == 4 else value[-1] // kv_heads
    return query[0] * heads * query[-2] * keys * (width + value_width)


def _multi_head_attention(call: NodeCall) -> int:
    """`MultiHeadAttention` of ONNX Runtime.

    Query (N, Lq, H·D), or packed (N, L, H, 3, D); key (N, Lk, H·D), packed with the value (N, Lk, H, 2, D), or of the
    past (N, H, Lk, D); value as the key.
    """
    query, heads = call.input(0), int(call.attribute("num_heads", 1))
    if len(query) == 5:
        length, width = query[1], query[4]
        return query[0] * heads * length * length * 2 * width
    key, width = call.input(1), query[-1] // heads
    keys = key[2] if len(key) == 4 else key[1]
    keys += call.input(6)[2] if call.has_input(6) else 0
    if not call.has_input(2):
        value_width = width
    else:
        value = call.input(2)
        value_width = value[-1] if len(value) == 4 else value[-1] // heads
    return query[0] * heads * query[1] * keys * (width + value_width)


def _attention_with_projection(call: NodeCall) -> int:
    """`Attention` and `QAttention` of ONNX Runtime: X (N, L, I) times W (I, Q + K + V), then attention."""
    source, weight, heads = call.input(0), call.input(1), int(call.attribute("num_heads", 1))
    sizes = call.attribute("qkv_hidden_sizes", [weight[1] // 3] * 3)
    past = 4 if call.node.op_type == "Attention" else 8
    keys = source[1] + (call.input(past)[-2] if call.has_input(past) else 0)
    projection = source[0] * source[1] * weight[0] * weight[1]
    return projection + source[0] * source[1] * keys * heads * int(sizes[0] // heads + sizes[2] // heads)


def _either_attention(call: NodeCall) -> int:
    is_onnx = call.node.domain in ("", "ai.onnx")
    return _attention(call) if is_onnx else _attention_with_projection(call)


def _grouped_query_attention(call: NodeCall) -> int:
    """Query (N, L, H·D), or packed with key and value (N, L, (H + 2·KV)·D), after the keys and values of the past."""
    query, heads = call.input(0), int(call.attribute("num_heads", 1))
    kv_heads = int(call.attribute("kv_num_heads", heads))
    is_packed = not call.has_input(1)
    width = query[2] // (heads + 2 * kv_heads) if is_packed else query[2] // heads
    # The present keys are an output: those of the past and the new ones.
    keys = call.output(1)[2] if len(call.node.output) > 1 and call.node.output[1] else query[1]
    return query[0] * heads * query[1] * keys * 2 * width


def _einsum(call: NodeCall) -> int:
    equation = call.attribute("equation", b"")
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    return einsum_macs(text, [call.input(index) for index in range(len(call.node.input))])


def einsum_macs(equation: str, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of an einsum whose operands are contracted two at a time from left to right.

    An index that only one operand has and nothing later reads is summed beforehand, as engines do it. A step without
    a contracted index is counted where it is an outer product (a matrix product with one inner index), not where it
    only scales one operand by the other.
    """
    terms, output, sizes = _parsed(equation.replace(" ", ""), shapes)
    total, current = 0, set(terms[0])
    for position, term in enumerate(terms[1:], start=1):
        other = set(term)
        needed = set(output).union(*map(set, terms[position + 1 :]))
        current, other = (
            {index for index in a if index in b | needed} for a, b in ((current, other), (other, current))
        )
        both = current | other
        is_product = bool(both - needed) or (bool(current - other) and bool(other - current))
        total += math.prod(sizes[index] for index in both) if is_product else 0
        current = both & needed
    return total


def _parsed(equation: str, shapes: Sequence[Shape]) -> tuple[list[list[str]], list[str], Mapping[str, int]]:
    """Indices of every operand and of the output, those of an ellipsis by number from the right; and their sizes."""
    left, arrow, right = equation.partition("->")
    sizes: dict[str, int] = {}
    terms = []
    for term, shape in zip(left.split(","), shapes, strict=True):
        indices = _indices(term, len(shape) - len(term.replace("...", "")))
        terms.append(indices)
        for index, size in zip(indices, shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))  # an index of size 1 is broadcast
    ellipsis = sum(index.isdigit() for index in sizes)
    if arrow:
        return terms, _indices(right, ellipsis), sizes
    times = Counter(index for term in terms for index in term)
    implicit = sorted(index for index, count in times.items() if count == 1 and not index.isdigit())
    return terms, [*_indices("...", ellipsis), *implicit], sizes


def _indices(term: str, ellipsis: int) -> list[str]:
    before, dots, after = term.partition("...")
    middle = [str(number) for number in reversed(range(ellipsis))] if dots else []
    return [*before, *middle, *after]


def _refused(call: NodeCall) -> int:
    raise UnknownShapeError


_CONVOLUTION = Product(_convolution(1))
_MATMUL = Product(_matmul)
_PRODUCTS: Mapping[str, Product] = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcConv", "NhwcFusedConv", "ConvInteger"), _CONVOLUTION),
    "QLinearConv": Product(_convolution(3), (0, 3)),
    "ConvTranspose": Product(_transposed_convolution),
    "ConvTransposeWithDynamicPads": Product(_transposed_convolution),
    "DeformConv": Product(_deformable_convolution),
    **dict.fromkeys(("Gemm", "FusedGemm", "GemmFloat8"), Product(_gemm)),
    "QGemm": Product(_gemm, (0, 3)),
    **dict.fromkeys(("MatMul", "FusedMatMul", "TransposeMatMul", "FusedMatMulActivation"), _MATMUL),
    **dict.fromkeys(
        ("MatMulInteger", "MatMulInteger16", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "GemmFastGelu"), _MATMUL
    ),
    "QLinearMatMul": Product(_quantized_matmul, (0, 3)),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4", "MatMulFpQ4"), Product(_block_quantized_matmul)),
    "Einsum": Product(_einsum, None),
    "RNN": Product(_recurrent(1), (0, 1, 2)),
    "GRU": Product(_recurrent(3), (0, 1, 2)),
    "LSTM": Product(_recurrent(4), (0, 1, 2)),
    "DynamicQuantizeLSTM": Product(_recurrent(4), (0, 1, 2)),
    "Attention": Product(_either_attention, (0, 1, 2)),
    "QAttention": Product(_attention_with_projection),
    "MultiHeadAttention": Product(_multi_head_attention, (0, 1, 2)),
    "GroupQueryAttention": Product(_grouped_query_attention, (0, 1, 2)),
    # They multiply, but how much depends on values, not on shapes.
    **dict.fromkeys(
        ("MoE", "QMoE", "SparseAttention", "LongformerAttention", "PagedAttention", "PackedAttention"),
        Product(_refused),
    ),
    **dict.fromkeys(
        ("PackedMultiHeadAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention"), Product(_refused)
    ),
    **dict.fromkeys(("DecoderAttention", "LinearAttention", "QOrderedMatMul", "QOrderedAttention"), Product(_refused)),
}
OPERATORS_THAT_MULTIPLY = frozenset(_PRODUCTS)
