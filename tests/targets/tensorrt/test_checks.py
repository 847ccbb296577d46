"""Bad ONNX files: the message names the node, and how to fix it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.onnx_files import INPUT_SHAPE, float_network, qdq_network, save

from harness.errors import StageError
from harness.targets.tensorrt.checks import load_checked, profiles
from harness.targets.tensorrt.options import ShapeRange, TensorRtBuildOptions

INT8 = TensorRtBuildOptions(expects_int8=True)
FLOAT = TensorRtBuildOptions()


def message(path: Path, options: TensorRtBuildOptions = FLOAT) -> str:
    with pytest.raises(StageError) as caught:
        load_checked(path, options)
    assert caught.value.fix
    return caught.value.message


def test_good_files_pass(tmp_path: Path):
    assert len(load_checked(qdq_network(tmp_path / "q.onnx"), INT8).graph.node) == 10
    assert len(load_checked(float_network(tmp_path / "f.onnx"), FLOAT).graph.node) == 3


def test_an_empty_file(tmp_path: Path):
    (tmp_path / "e.onnx").touch()
    assert message(tmp_path / "e.onnx") == "e.onnx is empty"


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, share: float):
    whole = qdq_network(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "t.onnx").write_bytes(whole[: int(share * len(whole))])
    assert message(tmp_path / "t.onnx").startswith("t.onnx is damaged or not an ONNX file")


def test_a_file_that_is_not_there(tmp_path: Path):
    assert "No such file" in message(tmp_path / "missing.onnx")


def test_int8_of_a_file_without_qdq(tmp_path: Path):
    assert message(float_network(tmp_path / "f.onnx"), INT8) == "f.onnx has no Q/DQ nodes, and INT8 was asked for"


def test_an_asymmetric_uint8_node_is_named(tmp_path: Path):
    path = qdq_network(tmp_path / "u.onnx", activation_type=np.uint8, zero_point=128)
    assert "node `conv1/Quantize` is asymmetric (uint8 with zero point 128)" in message(path)


def test_constants_may_be_nodes(tmp_path: Path):
    """As torch's older exporter writes scales and zero points."""
    path = qdq_network(tmp_path / "u.onnx", activation_type=np.uint8, zero_point=128)
    model = onnx.load(path)
    constants = [helper.make_node("Constant", [], [each.name], value=each) for each in model.graph.initializer]
    nodes = [*constants, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    assert "node `conv1/Quantize` is asymmetric (uint8 with zero point 128)" in message(path)


def test_without_a_zero_point_onnx_and_tensorrt_quantize_differently(tmp_path: Path):
    path = qdq_network(tmp_path / "n.onnx")
    model = onnx.load(path)
    del model.graph.node[0].input[2]
    onnx.save(model, path)
    assert message(path).startswith("n.onnx: node `conv1/Quantize` has no zero point")
    model.graph.node[0].attribute.append(helper.make_attribute("output_dtype", TensorProto.INT8))
    onnx.save(model, path)
    load_checked(path, INT8)


def test_an_int32_bias_as_onnxruntime_writes_it(tmp_path: Path):
    path = qdq_network(tmp_path / "b.onnx")
    model = onnx.load(path)
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.ones(32, np.int32), "b"), numpy_helper.from_array(np.float32(1e-4), "b.scale")]
    )
    bias = helper.make_node("DequantizeLinear", ["b", "b.scale"], ["b.float"], name="conv1/Bias")
    model.graph.node.insert(0, bias)
    next(node for node in model.graph.node if node.name == "conv1").input.append("b.float")
    onnx.save(model, path)
    assert "node `conv1/Bias` dequantizes int32" in message(path)


def test_an_int8_zero_point_that_is_not_zero(tmp_path: Path):
    assert "(int8 with zero point 5)" in message(qdq_network(tmp_path / "z.onnx", zero_point=5))


@pytest.mark.parametrize("scale", [0.0, -0.02])
def test_scales_must_be_positive(tmp_path: Path, scale: float):
    assert f"node `conv1/Quantize` has the scale {scale:g}" in message(qdq_network(tmp_path / "s.onnx", scale=scale))


def test_weights_quantized_along_the_wrong_axis_would_silently_run_in_float(tmp_path: Path):
    assert "the weight of `conv1` is quantized along axis 1" in message(qdq_network(tmp_path / "a.onnx", weight_axis=1))


def test_an_unknown_operator_is_named_with_the_nearest(tmp_path: Path):
    path = save(tmp_path / "o.onnx", [helper.make_node("Conf", ["input"], ["output"], name="odd")], [])
    with pytest.raises(StageError, match="node `odd` is a `Conf`") as caught:
        load_checked(path, FLOAT)
    assert caught.value.fix == "did you mean `Conv`?"


def test_an_opset_of_the_future(tmp_path: Path):
    path = save(tmp_path / "n.onnx", [helper.make_node("Relu", ["input"], ["output"])], [], opset=99)
    assert "asks for opset 99" in message(path)


def test_float64(tmp_path: Path):
    wide = helper.make_tensor_value_info("input", TensorProto.DOUBLE, [1, *INPUT_SHAPE])
    nodes = [helper.make_node("Cast", ["input"], ["output"], to=TensorProto.FLOAT)]
    assert "`input` is float64" in message(save(tmp_path / "d.onnx", nodes, [], inputs=[wide]))


def test_nodes_without_a_name_get_that_of_their_output(tmp_path: Path):
    model = load_checked(float_network(tmp_path / "f.onnx", named=False), FLOAT)
    assert [node.name for node in model.graph.node] == ["conv1.out", "conv1.relu", "output"]


class TestProfiles:
    def test_a_fixed_shape_needs_none(self, tmp_path: Path):
        model = onnx.load(float_network(tmp_path / "f.onnx", batch=4))
        assert profiles(model, FLOAT, "f.onnx") == ()

    def test_a_dynamic_batch_without_a_profile_is_named(self, tmp_path: Path):
        model = onnx.load(float_network(tmp_path / "f.onnx"))
        with pytest.raises(StageError, match=r"input `input` has the dynamic shape \?x32x16x16") as caught:
            profiles(model, FLOAT, "f.onnx")
        assert "--shapes input:1x32x16x16" in str(caught.value.fix)

    def test_one_profile_for_each_range_of_batch_sizes(self, tmp_path: Path):
        model = onnx.load(float_network(tmp_path / "f.onnx"))
        options = TensorRtBuildOptions(batch_profiles=((1, 1, 1), (2, 8, 32)))
        first, second = profiles(model, options, "f.onnx")
        assert first["input"] == ShapeRange(min=(1, *INPUT_SHAPE), opt=(1, *INPUT_SHAPE), max=(1, *INPUT_SHAPE))
        assert second["input"] == ShapeRange(min=(2, *INPUT_SHAPE), opt=(8, *INPUT_SHAPE), max=(32, *INPUT_SHAPE))

    @pytest.mark.parametrize(("batch_size", "fits"), [(1, True), (3, False), (4, True), (8, True), (9, False)])
    def test_some_profile_must_take_the_rows_batch(self, tmp_path: Path, batch_size: int, fits: bool):
        model = onnx.load(float_network(tmp_path / "f.onnx"))
        options = TensorRtBuildOptions(batch_size=batch_size, batch_profiles=((1, 1, 2), (4, 8, 8)))
        if fits:
            assert len(profiles(model, options, "f.onnx")) == 2
            return
        with pytest.raises(StageError, match=rf"\[1, 1, 2\], \[4, 8, 8\] takes a batch of {batch_size}") as caught:
            profiles(model, options, "f.onnx")
        assert f"[1, {batch_size}, {batch_size}]" in str(caught.value.fix)

    def test_a_profile_for_another_input_does_not_do(self, tmp_path: Path):
        model = onnx.load(float_network(tmp_path / "f.onnx"))
        shape = (1, *INPUT_SHAPE)
        options = TensorRtBuildOptions(shape_profiles=({"images": ShapeRange(min=shape, opt=shape, max=shape)},))
        with pytest.raises(StageError, match=r"f\.onnx has no input `images`") as caught:
            profiles(model, options, "f.onnx")
        assert caught.value.fix == "its inputs are: input"

    @pytest.mark.parametrize("batch", ["batch", 8])
    @pytest.mark.parametrize("shape", [(4, 32, 16), (4, 16, 16, 16), (4, 32, 16, 16, 1)], ids=str)
    def test_a_shape_that_does_not_fit_the_input(self, tmp_path: Path, batch: str | int, shape: tuple[int, ...]):
        model = onnx.load(float_network(tmp_path / "f.onnx", batch=batch))
        options = TensorRtBuildOptions(shape_profiles=({"input": ShapeRange(min=shape, opt=shape, max=shape)},))
        with pytest.raises(StageError, match=rf"`input` is .x32x16x16, which {'x'.join(map(str, shape))} does not fit"):
            profiles(model, options, "f.onnx")

    def test_a_fixed_batch_cannot_be_changed(self, tmp_path: Path):
        """TensorRT would take no notice of the profile."""
        model = onnx.load(float_network(tmp_path / "f.onnx", batch=8))
        shape = (4, *INPUT_SHAPE)
        options = TensorRtBuildOptions(shape_profiles=({"input": ShapeRange(min=shape, opt=shape, max=shape)},))
        with pytest.raises(StageError, match="8x32x16x16, which 4x32x16x16 does not fit"):
            profiles(model, options, "f.onnx")

    @pytest.mark.parametrize(("batch_size", "fits"), [(1, True), (8, True), (4, False)])
    def test_nor_by_asking_for_another_batch_size(self, tmp_path: Path, batch_size: int, fits: bool):
        model = onnx.load(float_network(tmp_path / "f.onnx", batch=8))
        options = TensorRtBuildOptions(batch_size=batch_size)
        if fits:
            assert profiles(model, options, "f.onnx") == ()
            return
        with pytest.raises(StageError, match=r"f\.onnx has the fixed batch size 8; 4 was asked for"):
            profiles(model, options, "f.onnx")

    def test_minus_one_is_dynamic(self, tmp_path: Path):
        model = onnx.load(float_network(tmp_path / "f.onnx", batch=-1))
        (only,) = profiles(model, TensorRtBuildOptions(batch_profiles=((1, 1, 1),)), "f.onnx")
        assert only["input"].max == (1, *INPUT_SHAPE)
