"""Target `onnxruntime`, op by op: from the eager network to the audited engine, and why an op stays in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from oracles.engines import TARGET, build, calibrated, prepare, variant
from oracles.networks import INPUT_SHAPE, MIXED_NETWORKS, make_batch, make_network
from torch import nn

from harness.exporting.macs import weighted_layers
from harness.exporting.onnx_export import export_onnx
from harness.metrics.base import Evidence
from harness.metrics.coverage import METRIC as COVERAGE
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.capture.graph import capture
from harness.quantization.placement.rules import RuleSet
from harness.results import Layer
from harness.verdicts.settings import Judgement

CONVERSIONS = {"QuantizeLinear", "DequantizeLinear"}


def audited(prepared, folder: Path, input_shape: tuple[int, int, int] = INPUT_SHAPE) -> list[Layer]:
    """The layers of the engine, which was seen to compute what the fake-quantized network computes."""
    path, engine = build(prepared, folder, input_shape)
    batch = torch.randn(32, *input_shape, generator=torch.Generator().manual_seed(4))
    expected = prepared(batch).detach().numpy()
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
    return list(TARGET.audit(engine.path, path))


def left_in_float(layers: list[Layer]) -> dict[str, str | None]:
    """Reason by op, of ops that compute."""
    moving = "only moves values"
    return {
        layer.op: layer.reason
        for layer in layers
        if not layer.int8 and layer.op not in CONVERSIONS and layer.reason != moving
    }


def quantize(network: nn.Module, input_shape: tuple[int, int, int] = INPUT_SHAPE, skip: tuple[str, ...] = ()):
    quantizer = TARGET.quantizer(
        TARGET.number_format(8, 8),
        per_channel=True,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet(skip=skip),
    )
    batch = torch.randn(64, *input_shape, generator=torch.Generator().manual_seed(1))
    return calibrated(capture(network.eval(), input_shape), quantizer, batch)


@pytest.mark.parametrize(
    "per_channel", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["perchannel", "pertensor"]
)
@pytest.mark.parametrize("name", MIXED_NETWORKS)
@pytest.mark.thorough(keep=1)
def test_every_op_left_in_float_has_a_reason_and_no_integer_op_has_one(
    name: str, per_channel: bool, tmp_path: Path
) -> None:
    for layer in audited(prepare(name, per_channel), tmp_path):
        if layer.op in CONVERSIONS:
            assert (layer.int8, layer.reason) == (False, None)
        else:
            assert (layer.reason is None) == layer.int8, layer


@pytest.mark.slow
def test_transposed_convolutions_stay_in_float_and_count_as_float(tmp_path: Path) -> None:
    layers = audited(prepare("transposed"), tmp_path)
    transposed = [layer for layer in layers if layer.op == "ConvTranspose"]
    assert [layer.name for layer in transposed] == ["up", "grouped"]
    assert {layer.reason for layer in transposed} == {"ONNX Runtime has no integer ConvTranspose kernel"}
    assert {layer.weight_type for layer in transposed} == {"float"}
    # Inputs x outputs per group x kernel: 8 on 8 x 8 to 6 by 2 x 2, and 8 on 8 x 8 to 4 in two groups by 4 x 4.
    in_float = 8 * 64 * 6 * 4 + 8 * 64 * 2 * 16
    # 8 outputs on 8 x 8 from 3 and from 6 inputs by 3 x 3, and the last layer.
    on_integers = 8 * 64 * 3 * 9 + 8 * 64 * 6 * 9 + 4 * 5
    judgement = Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.03)
    coverage = COVERAGE.compute(Evidence(variant(), judgement, False, "fp32", layers=tuple(layers)))
    assert coverage is not None
    assert coverage.int8_macs == pytest.approx(on_integers / (in_float + on_integers))
    assert coverage.int8_layers == "3/5"


def test_a_skipped_convolution_is_explained_and_not_the_activation_fused_into_it(tmp_path: Path) -> None:
    """The optimizer names a convolution in blocked layout after the output of its activation."""
    convolution = nn.Conv2d(32, 32, 3, padding=1)
    network = nn.Sequential(nn.Conv2d(3, 32, 1), nn.ReLU(), convolution, nn.ReLU(), nn.Conv2d(32, 4, 1))
    layers = audited(quantize(network, skip=("2",)), tmp_path)
    assert {layer.name: layer.reason for layer in layers if layer.weight_type == "float"}["2"] == (
        "its weight is float in the ONNX file"
    )


def test_gates_and_silu_run_on_integers(tmp_path: Path) -> None:
    ops = [layer.op for layer in audited(prepare("gated"), tmp_path)]
    assert ops.count("QLinearSigmoid") == 2  # of SiLU and of the gate
    assert ops.count("QLinearMul") == 2
    assert ops.count("QLinearLeakyRelu") == 1
    assert ops.count("QLinearGlobalAveragePool") == 2  # with and without `keepdim`


@pytest.mark.slow
def test_grouped_and_depthwise_convolutions_and_pools_run_on_integers(tmp_path: Path) -> None:
    layers = audited(prepare("grouped"), tmp_path)
    assert left_in_float(layers) == {}
    macs = {layer.name: layer.macs for layer in layers if layer.weight_type}
    assert macs["grouped.0"] == 16 * 64 * 2 * 9  # 16 outputs on 8 x 8, two inputs each
    assert macs["depthwise.0"] == 16 * 16 * 25  # on 4 x 4, one input each
    assert [layer.op for layer in layers].count("QLinearAveragePool") == 2


@pytest.mark.slow
def test_hard_swish_converts_once_each_way(tmp_path: Path) -> None:
    layers = audited(prepare("hardswish"), tmp_path)
    reasons = left_in_float(layers)
    assert reasons["HardSigmoid"] == "ONNX Runtime has no integer HardSigmoid kernel"
    assert reasons["Div"] == "ONNX Runtime has no integer Div kernel"
    assert reasons["Add"] == "one of its inputs is a constant, which is not quantized"
    # The gate of the second block multiplies an integer tensor, so it is worth quantizing the gate.
    assert [layer.op for layer in layers if layer.int8 and layer.op == "QLinearMul"] == ["QLinearMul"]
    # To float and back: hard-swish, hard-swish written out, the gate's hard-sigmoid, the division; and the input.
    assert sum(layer.op == "QuantizeLinear" for layer in layers) == 5


def test_attention_products_run_on_integers(tmp_path: Path) -> None:
    layers = audited(prepare("attention"), tmp_path)
    assert left_in_float(layers) == {}
    ops = [layer.op for layer in layers]
    assert ops.count("QLinearMatMul") == 2
    assert ops.count("QLinearSoftmax") == 1
    assert ops.count("QGemm") == 3
    macs = {layer.name: layer.macs for layer in layers if layer.weight_type}
    assert macs["qkv"] == 16 * 16 * 48  # 16 tokens of 16 channels
    assert macs["MatMul"] == 16 * 16 * 16  # every token with every token


@pytest.mark.slow
def test_a_transformer_block_multiplies_on_integers_and_keeps_the_rest_in_float(tmp_path: Path) -> None:
    layers = audited(prepare("encoder"), tmp_path)
    weighted = [layer for layer in layers if layer.weight_type]
    # Patches, packed projection, two attention products, output projection, two of the MLP, head.
    assert len(weighted) == 8
    assert all(layer.int8 for layer in weighted)
    reasons = left_in_float(layers)
    assert reasons.pop("Add") == "not quantized in the ONNX file: its neighbours are float"
    assert reasons.pop("Mul") == "one of its inputs is a constant, which is not quantized"  # 1 / sqrt(channels)
    assert reasons.pop("Softmax") == "not quantized in the ONNX file: its input is float"
    assert reasons == {
        op: f"ONNX Runtime has no integer {op} kernel" for op in ("LayerNormalization", "Gelu", "ReduceMean")
    }
    # GELU reads what the integer product hands out in float: no conversion in between.
    assert [layer.output_type for layer in weighted if layer.name == "block.linear1"] == ["float"]


@pytest.mark.slow
def test_packed_projections_of_cross_attention_are_quantized_one_by_one(tmp_path: Path) -> None:
    layers = audited(prepare("crossattention"), tmp_path)
    assert [layer.name for layer in layers if layer.weight_type and not layer.int8] == []
    assert sum(layer.op == "QGemm" for layer in layers) == 4  # query, key with value, output, head


def test_a_last_convolution_is_not_quantized_for_nothing(tmp_path: Path) -> None:
    prepared = prepare("convlast")
    weights = [q.name for q in quantized.tensor_quantizers(prepared) if isinstance(q, quantized.WeightQuantizer)]
    assert weights == ["stem.0.weight"]
    (head,) = [layer for layer in audited(prepared, tmp_path) if layer.name == "head"]
    assert head.reason == (
        "its output is the network's and is not quantized, and ONNX Runtime has no integer convolution with "
        "float output"
    )


def test_ops_between_float_layers_are_not_quantized(tmp_path: Path) -> None:
    layers = audited(prepare("residual", skip=("stem", "conv1", "conv2")), tmp_path)
    assert sum(layer.op in CONVERSIONS for layer in layers) == 1  # in front of the head
    (add,) = [layer for layer in layers if layer.op == "Add"] or [None]
    if add is not None:  # where the CPU's float convolution does not absorb it
        assert add.reason == "not quantized in the ONNX file: its neighbours are float"


def test_one_float_layer_among_integers_costs_two_conversions(tmp_path: Path) -> None:
    layers = audited(prepare("residual", skip=("conv1",)), tmp_path)
    assert [layer.op for layer in layers].count("QuantizeLinear") == 2  # the input, and behind conv1
    assert [layer.op for layer in layers].count("QLinearAdd") == 1


@pytest.mark.slow
def test_dead_channels_and_dead_activations_are_computed(tmp_path: Path) -> None:
    network = make_network("grouped")
    with torch.no_grad():
        network.grouped[0].weight[3] = 0.0
        network.grouped[1].bias[3] = -1.0  # never active behind the ReLU: its depthwise channel sees zeros only
        network.depthwise[0].weight[5] = 0.0
        network.stem[0].weight.zero_()  # a whole activation tensor of constants
        network.stem[1].bias.fill_(-1.0)
    prepared = quantize(network)
    assert all(torch.isfinite(q.scale).all() and (q.scale > 0).all() for q in quantized.tensor_quantizers(prepared))
    layers = audited(prepared, tmp_path)
    assert left_in_float(layers) == {}


def test_products_with_a_constant_matrix_are_linear_layers(tmp_path: Path) -> None:
    class Product(nn.Module):
        """x W with W as a plain parameter: output channels are columns."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 4, 4)
            self.matrix = nn.Parameter(torch.randn(8, 6) * torch.logspace(-3, 0, 6))
            self.head = nn.Linear(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.conv(x).flatten(2).transpose(1, 2) @ self.matrix)[:, 0])

    prepared = quantize(Product())
    prepared(make_batch(2))  # the scale follows the weight in every pass
    (matrix,) = [q for q in quantized.tensor_quantizers(prepared) if q.name == "matrix"]
    assert matrix.scale.shape == (6,)
    layers = audited(prepared, tmp_path)
    assert [layer.op for layer in layers if layer.weight_type] == ["QLinearConv", "QGemm", "QGemm"]


def test_shapes_that_only_the_batch_leaves_open_are_constants(tmp_path: Path) -> None:
    path, _ = build(prepare("encoder"), tmp_path)
    ops = {node.op_type for node in onnx.load(path).graph.node}
    assert ops.isdisjoint({"Shape", "Concat", "MatMulInteger"})
    assert {layer.op for layer in weighted_layers(path)} == {"Conv", "Gemm", "MatMul"}


def test_fp32_files_say_that_they_are_not_quantized(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    network = make_network("encoder")
    export_onnx(capture(network, INPUT_SHAPE), INPUT_SHAPE, path, integer_biases=True)
    engine = TARGET.build(path, tmp_path, TARGET.options_from({}))
    batch = make_batch(5)
    got = TARGET.open(engine.path, engine.options).run(batch.numpy())
    np.testing.assert_allclose(got, network(batch).detach().numpy(), rtol=1e-3, atol=1e-4)
    reasons = {layer.reason for layer in TARGET.audit(engine.path, path) if layer.weight_type}
    assert reasons == {"the ONNX file is not quantized"}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    ("clamp", "fuses"),
    [
        (nn.Hardtanh(-1.0, 1.0), False),
        (nn.Hardtanh(0.0, 6.0), True),
        (nn.ReLU6(), True),
        (nn.Hardtanh(0.5, 6.0), False),
    ],
)
def test_only_a_clamp_from_zero_is_fused_as_a_relu_and_another_one_is_named(
    clamp: nn.Module, fuses: bool, tmp_path: Path
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), clamp, nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    network(torch.zeros(1, *INPUT_SHAPE))
    layers = audited(quantize(network), tmp_path)
    assert [layer.int8 for layer in layers if layer.macs] == [True, True, True]
    clips = [layer.reason for layer in layers if layer.op == "Clip"]
    assert clips == [] if fuses else all("is not a ReLU" in str(reason) for reason in clips) and len(clips) == 1


def test_the_reasons_of_a_deep_network_are_found(tmp_path: Path) -> None:
    """Thousands of ops in a row: nothing here may recurse along the graph."""
    from onnx import TensorProto, helper

    steps = 3000
    nodes = [helper.make_node("Sin", [f"t{index}"], [f"t{index + 1}"], name=f"sin{index}") for index in range(steps)]
    nodes.append(helper.make_node("MatMul", [f"t{steps}", f"t{steps}"], ["y"], name="product"))
    nodes.append(helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["q"], name="quantize"))
    nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["out"], name="dequantize"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
            onnx.numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        ],
    )
    path = tmp_path / "deep.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    engine = TARGET.build(path, tmp_path, TARGET.options_from({}))
    (product,) = [layer for layer in TARGET.audit(engine.path, path) if layer.macs]
    assert (product.macs, product.reason) == (64, "not quantized in the ONNX file")
