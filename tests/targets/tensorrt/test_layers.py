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


def ten(name: str, shape: str, form: str) -> str:
    return f"{{ Name: {name}, Location: Device, Dimensions: [{shape}], Format/Datatype: {form} }}"


NCHW32 = "Thirty-two wide channel vectorized row major Int8 format"


def test_a_convolution_in_the_log_of_tensorrt_10():
    """It has no list of constants: what the kernel holds is told by number and type, among other attributes."""
    text = (
        f"Name: conv1 + relu1, LayerType: CaskConvolution, Inputs: [ {ten('x', '8,64,56,56', NCHW32)}, "
        f"{ten('sum', '8,64,56,56', NCHW32)}], Outputs: [ {ten('y', '8,64,56,56', 'Row major linear FP16 format')}], "
        'ParameterType: Convolution, Kernel: [3,3], PrePadding: [1,1], Groups: 1, Weights: {"Type": "Int8", '
        '"Count": 36864}, Bias: {"Type": "Float", "Count": 64}, HasReLU: 1, TacticName: sm80_xmma_fprop, '
        "TacticValue: 0x1, StreamId: 0, Metadata: [ONNX Layer: conv1]\x1e[ONNX Layer: relu1]"
    )
    (layer,) = layers_from_log([f"Layers:\n{text}\n\nBindings:\nx\ny"])
    assert (layer.name, layer.kind, layer.tactic) == ("conv1 + relu1", "CaskConvolution", "sm80_xmma_fprop")
    assert (layer.inputs, layer.weights, layer.outputs) == (("Int8", "Int8"), ("Int8", "Float"), ("Half",))
    assert layer.onnx_nodes == ("conv1", "relu1")
    assert layer.weight_bytes == 36864 + 4 * 64


def test_a_reformatting_layer_in_the_log_of_tensorrt_10_has_no_tactic_name():
    text = (
        f"Name: Reformatting CopyNode for Input Tensor 0 to conv1, LayerType: Reformat, "
        f"Inputs: [ {ten('x', '-1,3,8,8', 'N/A due to dynamic shapes')}], Outputs: [ {ten('y', '-1,3,8,8', 'Half')}], "
        "ParameterType: Reformat, Origin: REFORMAT, TacticValue: 0x3e8, StreamId: 0, Metadata: "
    )
    (layer,) = layers_from_log([f"Layers:\n{text}"])
    assert (layer.kind, layer.inputs, layer.outputs, layer.tactic) == ("Reformat", ("unknown",), ("Half",), "")


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
        "Bias": {"Type": "Float", "Count": 32},
        "TacticName": "sm80_xmma_fprop",
        "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]",
    }
    (found,) = layers_from_inspector(json.dumps({"Layers": [layer]}))
    assert (found.inputs, found.weights, found.outputs) == (("Int8",), ("Int8", "Float"), ("Half",))
    assert found.onnx_nodes == ("conv1", "relu1")
    assert found.weight_bytes == 9216 + 4 * 32


def test_an_engine_with_names_only_says_how_to_build_it():
    with pytest.raises(StageError, match="names of its layers only") as caught:
        layers_from_inspector('{"Layers": ["conv1"]}')
    assert "detailed" in str(caught.value.fix)
