"""What the builder's log and the inspector say about layers, as they say it."""

import json

import pytest

from harness.errors import StageError
from harness.targets.tensorrt.layers import layers_from_inspector, layers_from_log

TENSOR = "{{ Name: {name}, Dimensions: [{shape}], Strides: [1], Datatype: {type}, Format: (Linear) Row major }}"


def tensor(name: str, shape: str, element_type: str) -> str:
    return TENSOR.format(name=name, shape=shape, type=element_type)


def line(name: str, kind: str, inputs: list[str], constants: list[str], outputs: list[str], metadata: str) -> str:
    parts = (", ".join(each) for each in (inputs, constants, outputs))
    shown = "Inputs: [ {}], Constants: [ {}], Outputs: [ {}]".format(*parts)
    return f"Name: {name}, LayerType: {kind}, {shown}, TacticName: stub, StreamId: 0, Metadata: {metadata}"


CONV = line(
    "stem.conv_myl0_2",
    "correlation",
    [tensor("x", "-1,4,28,28", "Int8")],
    [tensor("w", "16,4,3,3", "Int8"), tensor("b", "1,16,1,1", "Float"), tensor("one", "1", "Float")],
    [tensor("y", "-1,16,28,28", "Half")],
    "[ONNX Layer: stem.conv]\x1e[ONNX Layer: input_DequantizeLinear][ONNX Layer: stem.conv]",
)


def test_a_line_of_the_builders_log():
    (layer,) = layers_from_log([f"Layers:\n{CONV}\n"])
    assert (layer.name, layer.kind, layer.tactic) == ("stem.conv_myl0_2", "correlation", "stub")
    assert (layer.inputs, layer.weights, layer.outputs) == (("Int8",), ("Int8", "Float", "Float"), ("Half",))
    assert layer.onnx_nodes == ("stem.conv", "input_DequantizeLinear")
    # int8 weights and float biases; the one-element constant is a scale.
    assert layer.weight_bytes == 16 * 4 * 3 * 3 + 4 * 16


def test_constants_that_layers_share_are_counted_once():
    first, second = layers_from_log([f"Layers:\n{CONV}\n{CONV}"])
    assert first.weight_bytes > 0
    assert second.weight_bytes == 0


def test_layers_without_tensors():
    text = "Name: e, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: "
    (layer,) = layers_from_log([f"Layers:\n{text}"])
    assert (layer.kind, layer.inputs, layer.outputs, layer.onnx_nodes) == ("signal", (), (), ())


def test_other_lines_are_no_layers_and_unknown_layers_are_an_error():
    assert layers_from_log(["Layers:\n\nI/O Tensors:\n Name: input, IOMode: Input"]) == ()
    with pytest.raises(StageError, match="unknown form: Name: odd"):
        layers_from_log(["Layers:\nName: odd"])


@pytest.mark.parametrize(
    ("key", "int8", "half"),
    [
        ("Format/Datatype", "Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP16 format"),
        ("Datatype", "Int8", "Half"),
    ],
    ids=["tensorrt-10", "tensorrt-11"],
)
def test_both_dialects_of_the_inspector(key: str, int8: str, half: str):
    layer = {
        "Name": "conv1 + relu1",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", key: int8}],
        "Outputs": [{"Name": "y", key: half}],
        "Weights": {"Type": "Int8", "Count": 9216},
        "TacticName": "sm80_xmma_fprop",
        "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]",
    }
    (found,) = layers_from_inspector(json.dumps({"Layers": [layer]}))
    assert (found.inputs, found.weights, found.outputs) == (("Int8",), ("Int8",), ("Half",))
    assert found.onnx_nodes == ("conv1", "relu1")
    assert found.weight_bytes == 9216


def test_an_engine_with_names_only_says_how_to_build_it():
    with pytest.raises(StageError, match="names of its layers only") as caught:
        layers_from_inspector('{"Layers": ["conv1"]}')
    assert "detailed" in str(caught.value.fix)
