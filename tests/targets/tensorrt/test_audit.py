"""From engine layers to what executes in INT8, and the reason for what does not."""

from pathlib import Path

import pytest
from oracles.onnx_files import CHANNELS, float_network, qdq_network

from harness.targets.engine_record import EngineLayer
from harness.targets.tensorrt.audit import audit, weight_bytes

MACS = 16 * 16 * CHANNELS * CHANNELS * 9  # 32 outputs on 16 x 16, 32 inputs, 3 x 3


def conv(node: str, element_type: str = "Int8", **changes) -> EngineLayer:
    fields = {
        "name": f"{node}_myl0_1",
        "kind": "correlation",
        "inputs": (element_type,),
        "weights": (element_type, "Float"),
        "outputs": ("Half",),
        "onnx_nodes": (node, f"{node}/Dequantize"),
    }
    return EngineLayer.model_validate(fields | changes)


QUANTIZE = EngineLayer(
    name="__myl_Mul", kind="kgen", inputs=("Half",), outputs=("Int8",), onnx_nodes=("conv2/Quantize", "conv1", "conv2")
)


def test_layers_stand_under_their_onnx_names_with_their_macs(tmp_path: Path):
    rows = audit([conv("conv1"), QUANTIZE, conv("conv2")], qdq_network(tmp_path / "m.onnx"))
    weighted = [row for row in rows if row.weight_type is not None]
    assert [(row.name, row.macs, row.int8, row.reason) for row in weighted] == [
        ("conv1", MACS, True, None),
        ("conv2", MACS, True, None),
    ]


def test_pointwise_kernels_carry_the_names_of_convolutions_and_are_not_taken_for_them(tmp_path: Path):
    rows = audit([QUANTIZE, conv("conv1"), conv("conv2")], qdq_network(tmp_path / "m.onnx"))
    assert [row.op for row in rows] == ["correlation", "correlation", "kgen"]
    assert rows[2].reason == "quantizes what a layer or the input gives in float"
    assert rows[2].macs == 0


@pytest.mark.parametrize(
    ("capability", "reason"),
    [
        ("SM75", "left in FP16: TensorRT-RTX has no INT8 kernels for SM75 and computes on dequantized values"),
        ("SM86", "left in FP16 although quantized in the ONNX file: the builder chose no INT8 kernel"),
    ],
)
def test_a_silent_fall_back_to_float_is_told(tmp_path: Path, capability: str, reason: str):
    layers = [conv("conv1"), conv("conv2", "Half")]
    rows = audit(layers, qdq_network(tmp_path / "m.onnx"), compute_capability=capability)
    assert [(row.name, row.int8, row.reason) for row in rows] == [("conv1", True, None), ("conv2", False, reason)]


def test_what_was_never_quantized_is_told_apart(tmp_path: Path):
    rows = audit([conv("conv1", "Float"), conv("conv2", "Float")], float_network(tmp_path / "m.onnx"))
    assert {row.reason for row in rows} == {"left in FP32: not quantized in the ONNX file"}


def test_a_layer_that_the_engine_does_not_name_is_not_counted_as_int8(tmp_path: Path):
    rows = audit([conv("conv1")], qdq_network(tmp_path / "m.onnx"))
    missing = rows[1]
    assert (missing.name, missing.macs, missing.int8) == ("conv2", MACS, False)
    assert "not found" in str(missing.reason)


def test_int8_input_with_float_weights_is_not_int8(tmp_path: Path):
    rows = audit([conv("conv1", weights=("Half",)), conv("conv2")], qdq_network(tmp_path / "m.onnx"))
    assert [row.int8 for row in rows] == [False, True]


def test_names_that_tensorrt_10_joins_with_a_plus(tmp_path: Path):
    joined = conv("conv1", name="conv1 + conv1/Relu", kind="CaskConvolution", onnx_nodes=())
    rows = audit([joined, conv("conv2")], qdq_network(tmp_path / "m.onnx"))
    assert [(row.name, row.op) for row in rows] == [("conv1", "CaskConvolution"), ("conv2", "correlation")]


def test_weight_bytes_are_the_sum():
    assert weight_bytes([conv("a", weight_bytes=3), conv("b", weight_bytes=4)]) == 7


@pytest.mark.parametrize(("element_type", "int8"), [("Int8", True), ("Half", False)])
def test_where_no_type_of_a_tensor_is_told_the_kernels_weights_decide(tmp_path: Path, element_type: str, int8: bool):
    """TensorRT 10 tells none in its log where the batch is dynamic."""
    hidden = {"inputs": ("unknown",), "outputs": ("unknown",), "weights": (element_type, "Float")}
    first, _ = audit([conv("conv1", **hidden), conv("conv2")], qdq_network(tmp_path / "m.onnx"))
    assert (first.input_type, first.weight_type, first.int8) == (element_type, element_type, int8)
    assert int8 or str(first.reason).startswith("left in FP16 although quantized")
