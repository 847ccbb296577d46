"""Graphs cut into pieces: each piece computes from what it is given, and hands out what it computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from harness.parity.onnx_graph import cut, exposed, runner


@pytest.fixture
def model() -> ModelProto:
    """input → + 1 → inner → x 2 → output."""
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in (("one", 1), ("two", 2))]
    nodes = [
        helper.make_node("Add", ["input", "one"], ["inner"]),
        helper.make_node("Mul", ["inner", "two"], ["output"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_an_exposed_tensor_is_an_output(model: ModelProto) -> None:
    found = runner(exposed(model, {"inner": TensorProto.FLOAT}))({"input": values(3)})
    assert {name: value.tolist() for name, value in found.items()} == {"output": [8], "inner": [4]}


def test_a_piece_computes_from_what_it_is_given(model: ModelProto) -> None:
    """The second piece is given 10, whatever the first one computed."""
    pieces = runner(cut(model, {"inner": TensorProto.FLOAT, "output": TensorProto.FLOAT}))
    found = pieces({"input": values(3), "inner": values(10), "output": values(0)})
    assert {name: value.tolist() for name, value in found.items()} == {"output": [20], "inner": [4]}


def test_the_model_itself_is_left_alone(model: ModelProto) -> None:
    before = model.SerializeToString()
    cut(model, {"inner": TensorProto.FLOAT})
    assert model.SerializeToString() == before
