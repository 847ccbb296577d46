"""FP16 in an ONNX file: the same outputs, FP32 only where values do not fit, scales that FP16 has."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.onnx_files import CHANNELS, INPUT_SHAPE, float_network, qdq_network, save

from harness.errors import StageError
from harness.exporting.fp16 import FP16_MAX, convert_to_fp16, nodes_out_of_range, relative_error, rescale_small_weights

SAMPLES = np.random.default_rng(0).standard_normal((3, *INPUT_SHAPE)).astype(np.float32)


def types(path: Path) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}


def element_types(path: Path) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}


def run(path: Path) -> np.ndarray:
    session_options = onnxruntime.SessionOptions()
    session_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": SAMPLES})[0]


def test_weights_and_activations_are_fp16_and_the_interface_stays_fp32(tmp_path: Path):
    report = convert_to_fp16(float_network(tmp_path / "f.onnx"), tmp_path / "h.onnx", SAMPLES)
    assert set(types(tmp_path / "h.onnx").values()) == {TensorProto.FLOAT16}
    found = element_types(tmp_path / "h.onnx")
    assert found["conv1.out"] == TensorProto.FLOAT16
    assert found["input"] == found["output"] == TensorProto.FLOAT
    assert report.kept_fp32 == {}
    # FP16 has 11 bits: an error of 2^-11 per rounding, of which few add up here.
    assert 0 < report.error < 2**-8
    np.testing.assert_allclose(run(tmp_path / "h.onnx"), run(tmp_path / "f.onnx"), atol=0.02)


def test_qdq_keeps_its_integers_and_gets_fp16_scales(tmp_path: Path):
    source = qdq_network(tmp_path / "q.onnx")
    convert_to_fp16(source, tmp_path / "h.onnx", SAMPLES)
    found = types(tmp_path / "h.onnx")
    assert found["conv1.weight"] == TensorProto.INT8
    assert found["conv1.scale"] == found["conv1.weight_scale"] == TensorProto.FLOAT16
    before, after = (
        {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
        for path in (source, tmp_path / "h.onnx")
    )
    np.testing.assert_array_equal(before["conv1.weight"], after["conv1.weight"])


def test_nothing_stands_between_dequantize_and_convolution(tmp_path: Path):
    convert_to_fp16(qdq_network(tmp_path / "q.onnx"), tmp_path / "h.onnx", SAMPLES)
    graph = onnx.load(tmp_path / "h.onnx").graph
    producers = {output: node.op_type for node in graph.node for output in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert [producers[name] for node in convs for name in node.input] == ["DequantizeLinear"] * 4


class TestRange:
    def test_values_beyond_fp16_stay_in_fp32(self, tmp_path: Path):
        # 288 products of values around 1 with weights around 2,000: some sums pass 32,752, half of FP16's largest.
        path = float_network(tmp_path / "f.onnx", scale=2000.0)
        report = convert_to_fp16(path, tmp_path / "h.onnx", SAMPLES)
        assert {"conv1", "conv2"} <= report.kept_fp32.keys()
        assert "FP16 ends at 65504" in report.kept_fp32["conv1"]
        expected, got = run(path), run(tmp_path / "h.onnx")
        assert np.abs(expected).max() > FP16_MAX
        assert relative_error(expected, got) < 0.01

    def test_of_one_large_layer_the_others_are_converted(self, tmp_path: Path):
        model = onnx.load(float_network(tmp_path / "f.onnx"))
        nodes = [
            *model.graph.node[:2],
            helper.make_node("Mul", ["conv1.relu", "large"], ["big"], name="up"),
            helper.make_node("Mul", ["big", "small"], ["output"], name="down"),
        ]
        constants = [
            *model.graph.initializer[:1],
            numpy_helper.from_array(np.float32(30000), "large"),
            numpy_helper.from_array(np.float32(1 / 30000), "small"),
        ]
        path = save(tmp_path / "l.onnx", nodes, constants)
        report = convert_to_fp16(path, tmp_path / "h.onnx", SAMPLES)
        assert report.kept_fp32.keys() == {"up", "down"}
        assert element_types(tmp_path / "h.onnx")["conv1.out"] == TensorProto.FLOAT16
        assert report.error < 0.005

    def test_a_large_quantized_layer_keeps_its_qdq_nodes_in_fp32(self, tmp_path: Path):
        path = qdq_network(tmp_path / "q.onnx", weight_scale=30.0)
        kept = nodes_out_of_range(onnx.load(path), SAMPLES)
        assert {"conv2", "conv2/Weight", "conv2/Dequantize", "conv2/Quantize"} <= kept.keys()
        report = convert_to_fp16(path, tmp_path / "h.onnx", SAMPLES)
        assert report.error < 0.05

    def test_an_output_that_is_not_finite_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("harness.exporting.fp16.nodes_out_of_range", lambda *_: {})
        path = float_network(tmp_path / "f.onnx", scale=2000.0)
        with pytest.raises(StageError, match="change by inf") as caught:
            convert_to_fp16(path, tmp_path / "h.onnx", SAMPLES)
        assert "FP32" in str(caught.value.fix)


class TestSmallScales:
    def test_a_scale_that_fp16_has_not_is_raised_and_the_integers_follow(self, tmp_path: Path):
        scales = [0.003] * (CHANNELS - 2) + [1.1e-7, 2e-9]
        model = onnx.load(qdq_network(tmp_path / "q.onnx", weight_scale=scales))
        before = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        assert rescale_small_weights(model) == ("conv1/Weight", "conv2/Weight")
        after = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        raised = after["conv1.weight_scale"]
        # FP16's subnormal numbers are multiples of 2^-24 = 5.96e-8: 1.1e-7 becomes 2 of them, 2e-9 one.
        np.testing.assert_array_equal(raised[-2:], np.float32([2 * 2**-24, 2**-24]))
        np.testing.assert_array_equal(raised[:-2], before["conv1.weight_scale"][:-2])
        old = before["conv1.weight"] * before["conv1.weight_scale"].reshape(-1, 1, 1, 1)
        new = after["conv1.weight"] * raised.reshape(-1, 1, 1, 1)
        assert (np.abs(new - old) <= raised.reshape(-1, 1, 1, 1) / 2 * 1.001).all()

    def test_no_scale_becomes_zero(self, tmp_path: Path):
        path = qdq_network(tmp_path / "q.onnx", weight_scale=[0.003] * (CHANNELS - 1) + [1e-12])
        report = convert_to_fp16(path, tmp_path / "h.onnx", SAMPLES)
        scales = [
            numpy_helper.to_array(each)
            for each in onnx.load(tmp_path / "h.onnx").graph.initializer
            if "scale" in each.name
        ]
        assert all((each > 0).all() for each in scales)
        assert report.rescaled_weights == ("conv1/Weight", "conv2/Weight")


@pytest.mark.parametrize(
    ("got", "error"),
    [([1.0, 4.0], 0.0), ([1.0, 3.0], (1 / 17) ** 0.5), ([np.nan, 4.0], np.inf), ([1.0, np.inf], np.inf)],
)
def test_relative_error(got: list[float], error: float):
    # Squares: 1 + 16 = 17 expected, 0 + 1 of the difference.
    assert relative_error(np.float32([1.0, 4.0]), np.float32(got)) == pytest.approx(error)


@pytest.mark.parametrize("opset", [13, 17])
def test_qdq_of_an_older_opset_is_converted_to_one_with_fp16_scales(tmp_path: Path, opset: int):
    """Quantization toolkits that export through TorchScript write opset 13 to 17."""
    path = qdq_network(tmp_path / "q.onnx")
    model = onnx.load(path)
    model.opset_import[0].version, model.ir_version = opset, 8
    onnx.save(model, path)
    convert_to_fp16(path, tmp_path / "h.onnx", SAMPLES)
    assert onnx.load(tmp_path / "h.onnx").opset_import[0].version == 19
    assert types(tmp_path / "h.onnx")["conv1.scale"] == TensorProto.FLOAT16
    assert [node.name for node in onnx.load(tmp_path / "h.onnx").graph.node if node.op_type == "Conv"] == [
        "conv1",
        "conv2",
    ]


@pytest.mark.parametrize("batch", [2, 8])
def test_a_fixed_batch_is_filled_up_with_samples(tmp_path: Path, batch: int):
    report = convert_to_fp16(float_network(tmp_path / "f.onnx", batch=batch), tmp_path / "h.onnx", SAMPLES)
    assert 0 < report.error < 2**-8
