"""Q/DQ placement in TensorRT's format, read from the exported ONNX. No TensorRT is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from oracles.engines import calibrated
from oracles.networks import INPUT_SHAPE, captured, make_batch
from torch import nn

from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.targets.tensorrt.quantizer import FORMAT, TensorRTQuantizer
from models.mobilenet import mobilenet_v2_small
from models.resnet import resnet8

FASHION = (1, 28, 28)
TO_INTEGERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def make_quantizer(skip: tuple[str, ...] = ()) -> TensorRTQuantizer:
    return TensorRTQuantizer(
        FORMAT, per_channel=True, weight_calibrator=make_calibrator("max"), rules=RuleSet(skip=skip)
    )


@dataclass
class File:
    """An exported graph and what the tests ask of it."""

    graph: onnx.GraphProto

    def __post_init__(self) -> None:
        self.arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}

    def nodes(self, *ops: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type in ops]

    def source(self, name: str) -> str:
        """The op that makes a tensor."""
        return self.producers[name].op_type if name in self.producers else "constant or input"

    def scale(self, name: str) -> np.ndarray:
        """The scale of a dequantized tensor."""
        return self.arrays[self.producers[name].input[1]]


def export(graph, prepared, folder: Path, shape: tuple[int, int, int]) -> File:
    path = folder / "model.onnx"
    export_onnx(quantized.convert(prepared), shape, path, integer_biases=False)
    batch = torch.randn(8, *shape, generator=torch.Generator().manual_seed(3))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (got,) = onnxruntime.InferenceSession(str(path), options).run(None, {"input": batch.numpy()})
    expected = prepared(batch).detach().numpy()
    assert np.abs(got - expected).max() <= 0.02 * np.abs(expected).max()
    return File(onnx.load(path).graph)


def exported(network: nn.Module, folder: Path, shape: tuple[int, int, int]) -> File:
    graph = capture(network.eval(), shape)
    batch = torch.randn(16, *shape, generator=torch.Generator().manual_seed(1))
    return export(graph, calibrated(graph, make_quantizer(), batch), folder, shape)


def exported_oracle(name: str, folder: Path) -> File:
    graph = captured(name)
    return export(graph, calibrated(graph, make_quantizer(), make_batch()), folder, INPUT_SHAPE)


def resnet(folder: Path) -> File:
    torch.manual_seed(0)
    return exported(resnet8(), folder, FASHION)


def mobilenet(folder: Path) -> File:
    torch.manual_seed(0)
    return exported(mobilenet_v2_small(), folder, FASHION)


def inception(folder: Path) -> File:
    return exported_oracle("dense", folder)


ALL = pytest.mark.parametrize("make", [resnet, mobilenet, inception], ids=["resnet", "mobilenet", "inception"])


@pytest.mark.thorough(keep=1)
@ALL
def test_format_and_placement_of_convolutional_networks(make: Callable[[Path], File], tmp_path: Path) -> None:
    file = make(tmp_path)
    for node in file.nodes("QuantizeLinear", "DequantizeLinear"):
        zero_point = file.arrays[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
    for node in file.nodes("Conv", "Gemm"):
        assert [file.source(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
        channels = file.arrays[file.producers[node.input[1]].input[0]].shape[0]
        assert file.scale(node.input[1]).shape == (channels,)  # per output channel
        assert file.scale(node.input[0]).shape == ()  # per tensor
    # Nothing between convolution, batch norm (folded) and activation; the network's output is float.
    assert file.nodes("BatchNormalization") == []
    for node in file.nodes("Relu", "Clip"):
        assert file.source(node.input[0]) in {"Conv", "Add"}
    assert file.source(file.graph.output[0].name) == "Gemm"


@pytest.mark.parametrize(("make", "adds"), [(resnet, 3), (mobilenet, 3)], ids=["resnet", "mobilenet"])
@pytest.mark.thorough(keep=1)
def test_the_identity_branch_of_each_residual_add_is_quantized_and_the_convolution_is_not(
    make: Callable[[Path], File], adds: int, tmp_path: Path
) -> None:
    file = make(tmp_path)
    sources = [sorted(file.source(name) for name in node.input) for node in file.nodes("Add")]
    assert sources == [["Conv", "DequantizeLinear"]] * adds


def test_of_a_block_that_downsamples_the_shortcut_is_the_identity(tmp_path: Path) -> None:
    file = resnet(tmp_path)
    quantized_branch = {}
    for add in file.nodes("Add"):
        (dequantize,) = [file.producers[n] for n in add.input if file.source(n) == "DequantizeLinear"]
        quantized_branch[add.name] = file.producers[file.producers[dequantize.input[0]].input[0]].name
    assert quantized_branch == {
        "layer1.0/Add": "stem.relu/Relu",
        "layer2.0/Add": "layer2.0.shortcut.conv",
        "layer3.0/Add": "layer3.0.shortcut.conv",
    }


def test_the_identity_shares_its_quantizer_with_the_convolution_that_reads_the_same(tmp_path: Path) -> None:
    file = resnet(tmp_path)
    readers = [node for node in file.nodes("QuantizeLinear") if node.input[0] == file.nodes("Relu")[0].output[0]]
    assert len(readers) == 1


def test_everything_that_concatenations_join_has_one_scale(tmp_path: Path) -> None:
    file = inception(tmp_path)
    inner, outer = file.nodes("Concat")
    assert [file.source(name) for node in (inner, outer) for name in node.input] == ["DequantizeLinear"] * 5
    assert len({float(file.scale(name)) for node in (inner, outer) for name in node.input}) == 1
    # So has the convolution that reads the inner one: TensorRT copies integers.
    (grow,) = [node for node in file.nodes("Conv") if node.name == "grow.0"]
    assert float(file.scale(grow.input[0])) == float(file.scale(inner.input[0]))


def test_transposed_convolutions_have_a_scale_per_output_channel_on_axis_1(tmp_path: Path) -> None:
    file = exported_oracle("transposed", tmp_path)
    shapes = {}
    for node in file.nodes("ConvTranspose"):
        dequantize = file.producers[node.input[1]]
        assert [a.i for a in dequantize.attribute if a.name == "axis"] == [1]
        shapes[node.name] = (file.arrays[dequantize.input[0]].shape, file.scale(node.input[1]).shape)
        assert file.source(node.input[0]) == "DequantizeLinear"
    # (inputs, outputs per group, 2 x 2): with two groups, channels of the same place in their group share a scale.
    assert shapes == {"up": ((8, 6, 2, 2), (6,)), "grouped": ((8, 2, 4, 4), (2,))}


def test_matrix_products_are_quantized_and_the_residual_sums_of_a_transformer_are_not(tmp_path: Path) -> None:
    file = exported_oracle("encoder", tmp_path)
    products = file.nodes("MatMul", "Gemm")
    through = {"Transpose", "Reshape"}

    def origin(name: str) -> str:
        while file.source(name) in through:
            name = file.producers[name].input[0]
        return file.source(name)

    assert [[origin(name) for name in node.input[:2]] for node in products] == [["DequantizeLinear"] * 2] * 7
    sums = [node for node in file.nodes("Add") if node.name.rpartition("/")[0] == "block"]
    assert len(sums) == 2
    assert "DequantizeLinear" not in {origin(name) for node in sums for name in node.input}


def test_an_add_without_a_convolution_is_quantized_on_both_sides(tmp_path: Path) -> None:
    file = exported_oracle("upsampled", tmp_path)
    (add,) = file.nodes("Add")  # of two halves of one tensor
    assert [file.source(name) for name in add.input] == ["DequantizeLinear"] * 2


def test_a_skipped_convolution_keeps_a_float_weight_and_input() -> None:
    prepared = quantized.prepare(captured("residual"), make_quantizer(skip=("conv2",)))
    weights = {q.name for q in quantized.tensor_quantizers(prepared) if isinstance(q, quantized.WeightQuantizer)}
    assert weights == {"stem.0.weight", "conv1.0.weight", "head.weight"}
