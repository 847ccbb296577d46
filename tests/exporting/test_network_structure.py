"""Who reads from whom in an ONNX file, with quantizers and constants left out."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.exporting.network_structure import operators


def test_quantizers_are_passed_through_and_constants_left_out(tmp_path: Path) -> None:
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "weight")
    nodes = [
        helper.make_node("Identity", ["weight"], ["constant"], name="constant"),
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["d"], name="dequantize"),
        helper.make_node("MatMul", ["d", "constant"], ["m"], name="product"),
        helper.make_node("QuantizeLinear", ["m", "scale"], ["mq"], name="quantize_product"),
        helper.make_node("DequantizeLinear", ["mq", "scale"], ["md"], name="dequantize_product"),
        helper.make_node("Relu", ["md"], ["r"]),
        helper.make_node("Add", ["r", "md"], ["y"], name="sum"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [scale, weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "model.onnx")
    found = operators(tmp_path / "model.onnx")
    assert [(each.name, each.op, each.inputs) for each in found] == [
        ("product", "MatMul", ()),
        ("r", "Relu", (0,)),
        ("sum", "Add", (1, 0)),
    ]
