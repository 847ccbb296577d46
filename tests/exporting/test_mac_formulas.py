"""Counts of single ONNX operators against arithmetic written out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.errors import StageError
from harness.exporting.mac_formulas import einsum_macs
from harness.exporting.macs import weighted_layers

Inputs = dict[str, tuple[int | str, ...]]


def save(
    path: Path,
    op: str,
    inputs: Inputs,
    weights: dict[str, tuple[int, ...]],
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> Path:
    """A file of one node, whose inputs are those given in the order of `inputs`, then `weights`; `_` leaves one out."""
    names = [name if not name.startswith("_") else "" for name in (*inputs, *weights)]
    results = [f"out{index}" for index in range(outputs)]
    node = helper.make_node(op, names, results, name="node", domain=domain, **attributes)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in inputs.items()
        if name[0] != "_"
    ]
    constants = [
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in weights.items()
        if name[0] != "_"
    ]
    graph = helper.make_graph(
        [node], "g", values, [helper.make_tensor_value_info("out0", TensorProto.FLOAT, None)], constants
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=11), path)
    return path


CASES: dict[str, tuple[str, Inputs, dict[str, tuple[int, ...]], dict[str, Any], int]] = {
    # outputs x inputs of the group x kernel
    "conv1d": ("Conv", {"x": ("n", 4, 10)}, {"w": (6, 4, 3)}, {}, 6 * 8 * 4 * 3),
    "conv3d": ("Conv", {"x": ("n", 2, 5, 6, 7)}, {"w": (3, 2, 2, 2, 2)}, {}, 3 * 4 * 5 * 6 * 2 * 8),
    "depthwise": ("Conv", {"x": ("n", 8, 9, 9)}, {"w": (8, 1, 3, 3)}, {"group": 8, "strides": [2, 2]}, 8 * 16 * 9),
    "dilated": ("Conv", {"x": ("n", 3, 9, 9)}, {"w": (4, 3, 3, 3)}, {"dilations": [2, 2]}, 4 * 25 * 27),
    "computed kernel": ("Conv", {"x": (1, 3, 9, 9), "w": (4, 3, 3, 3)}, {}, {}, 4 * 49 * 27),
    "a file for a batch of 8": ("Conv", {"x": (8, 3, 9, 9)}, {"w": (4, 3, 3, 3)}, {}, 4 * 49 * 27),
    # inputs x outputs of the group x kernel
    "transposed": ("ConvTranspose", {"x": ("n", 8, 5, 5)}, {"w": (8, 6, 2, 2)}, {"strides": [2, 2]}, 8 * 25 * 6 * 4),
    "grouped transposed": ("ConvTranspose", {"x": ("n", 8, 5)}, {"w": (8, 3, 4)}, {"group": 2}, 8 * 5 * 3 * 4),
    "gemm": ("Gemm", {"x": ("n", 12)}, {"w": (5, 12)}, {"transB": 1}, 60),
    "gemm of columns": ("Gemm", {"x": (12, 1)}, {"w": (12, 5)}, {"transA": 1}, 60 // 12),
    "matmul": ("MatMul", {"x": ("n", 7, 12)}, {"w": (12, 5)}, {}, 7 * 12 * 5),
    "weight on the left": ("MatMul", {}, {"w": (5, 7)}, {}, 0),
    "broadcast matmul": ("MatMul", {"x": ("n", 2, 7, 12), "y": ("n", 1, 12, 5)}, {}, {}, 2 * 7 * 12 * 5),
    "vector": ("MatMul", {"x": ("n", 7, 12)}, {"w": (12,)}, {}, 7 * 12),
    # steps x directions x gates x hidden x (inputs + hidden)
    "lstm": ("LSTM", {"x": (9, "n", 5)}, {"w": (1, 28, 5), "r": (1, 28, 7)}, {"hidden_size": 7}, 9 * 4 * 7 * 12),
    "two directions": (
        "GRU",
        {"x": (9, "n", 5)},
        {"w": (2, 21, 5), "r": (2, 21, 7)},
        {"hidden_size": 7, "direction": "bidirectional"},
        9 * 2 * 3 * 7 * 12,
    ),
    "rnn": ("RNN", {"x": (9, "n", 5)}, {"w": (1, 7, 5), "r": (1, 7, 7)}, {"hidden_size": 7}, 9 * 7 * 12),
    # queries x keys x (width of keys + width of values), per head
    "attention": ("Attention", {"q": ("n", 2, 5, 8), "k": ("n", 2, 9, 8), "v": ("n", 2, 9, 6)}, {}, {}, 2 * 5 * 9 * 14),
    "packed heads": (
        "Attention",
        {"q": ("n", 5, 16), "k": ("n", 9, 8), "v": ("n", 9, 8)},
        {},
        {"q_num_heads": 4, "kv_num_heads": 2},
        4 * 5 * 9 * 8,
    ),
    "heads": ("Einsum", {"q": ("n", 2, 5, 8), "k": ("n", 2, 9, 8)}, {}, {"equation": "bhid,bhjd->bhij"}, 2 * 5 * 9 * 8),
    "ellipsis": ("Einsum", {"q": ("n", 5, 8)}, {"w": (8, 3)}, {"equation": "...i,ij->...j"}, 5 * 8 * 3),
}  # fmt: skip


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name][4]])
def test_the_count_of_one_operator_is_the_arithmetic(case: str, tmp_path: Path) -> None:
    op, inputs, weights, attributes, macs = CASES[case]
    path = save(tmp_path / "m.onnx", op, inputs, weights, **attributes)
    (layer,) = weighted_layers(path)
    assert (layer.name, layer.op, layer.macs) == ("node", op, macs)


def test_a_product_with_the_weight_on_the_left_counts_as_one_with_it_on_the_right(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["w", "x"], ["out0"], name="node")
    weight = onnx.numpy_helper.from_array(np.ones((5, 7), np.float32), "w")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 7, 3))
    result = helper.make_tensor_value_info("out0", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph([node], "g", [value], [result], [weight])), tmp_path / "m.onnx")
    (layer,) = weighted_layers(tmp_path / "m.onnx")
    assert layer.macs == 5 * 7 * 3
    assert [factor.is_constant for factor in layer.factors] == [True, False]


def test_attention_of_onnx_runtime_counts_its_projection(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        "Attention",
        {"x": ("n", 6, 8)},
        {"w": (8, 24), "b": (24,)},
        domain="com.microsoft",
        num_heads=2,
    )
    (layer,) = weighted_layers(path)
    assert layer.macs == 6 * 8 * 24 + 6 * 6 * (8 + 8)


def test_multi_head_attention_of_onnx_runtime(tmp_path: Path) -> None:
    inputs: Inputs = {"q": ("n", 6, 8), "k": ("n", 10, 8), "v": ("n", 10, 8)}
    path = save(tmp_path / "m.onnx", "MultiHeadAttention", inputs, {}, domain="com.microsoft", num_heads=2)
    (layer,) = weighted_layers(path)
    assert layer.macs == 6 * 10 * (8 + 8)


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("ij,jk", [(2, 3), (3, 4)], 24),
        ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)], 120),
        ("i,j->ij", [(3,), (4,)], 12),
        ("bi,bi->b", [(5, 3), (5, 3)], 15),
        ("bchw,bc->bchw", [(1, 3, 4, 4), (1, 3)], 0),  # scales, as Mul does
        ("ij,jk->i", [(2, 3), (3, 4)], 6),  # k is summed first
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
        ("...ij,...jk->...ik", [(7, 2, 3), (3, 4)], 7 * 24),
        ("...a,...a->...", [(2, 5, 6), (5, 6)], 60),
        ("ij->j", [(2, 3)], 0),
    ],
)
def test_an_einsum_is_contracted_from_left_to_right(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    assert einsum_macs(equation, shapes) == macs


def test_the_body_of_a_loop_counts_as_often_as_it_runs(tmp_path: Path) -> None:
    def value(name: str, kind: int, shape: list[int] | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["co"]), helper.make_node("MatMul", ["s", "w"], ["so"], name="inner")],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("s", TensorProto.FLOAT, None)],
        [value("co", TensorProto.BOOL, []), value("so", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=body)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w"),
            onnx.numpy_helper.from_array(np.array(5), "n"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    (layer,) = weighted_layers(tmp_path / "m.onnx")
    assert (layer.name, layer.macs) == ("inner", 5 * 4 * 4)


def test_an_open_size_is_an_error_that_names_the_option_and_a_given_one_counts(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "Conv", {"x": ("n", 3, "h", "w")}, {"k": (4, 3, 3, 3)})
    with pytest.raises(StageError, match="the size of its input `x` is 1x3x\\?x\\?") as caught:
        weighted_layers(path)
    assert "--shapes" in str(caught.value.fix)
    (layer,) = weighted_layers(path, {"x": (8, 3, 9, 9)})
    assert layer.macs == 4 * 49 * 27


def test_what_depends_on_values_is_an_error_and_never_zero(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "MoE", {"x": (1, 4), "router": (1, 2)}, {"w": (2, 4, 4)}, domain="com.microsoft")
    with pytest.raises(StageError):
        weighted_layers(path)


def test_products_of_constants_are_computed_before_the_network_runs(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "MatMul", {}, {"a": (2, 3), "b": (3, 2)})
    assert weighted_layers(path) == ()


def test_quantized_operators_count_as_their_float_ones(tmp_path: Path) -> None:
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="node")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 6, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [onnx.numpy_helper.from_array(np.ones((4, 3), np.int8), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    (layer,) = weighted_layers(tmp_path / "m.onnx")
    assert layer.macs == math.prod((6, 4, 3))
