"""Each rewrite of an exported graph alone: a graph of a few nodes, the graph that is expected, and the same outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper

from harness.exporting import passes
from harness.exporting.gemm_pass import use_gemm
from harness.exporting.translations import reset_after_product

Array = np.ndarray[Any, Any]
Pass = Callable[[ir.Model], None]
RANDOM = np.random.default_rng(0)
SCOPES = "pkg.torch.onnx.name_scopes"


def model_of(text: str, **constants: Array) -> ir.Model:
    """The graph written as ONNX's text, every node named after its output, with shapes as the exporter notes them."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> graph {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    for node in proto.graph.node:
        node.name = node.output[0]
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))


def nodes(model: ir.Model) -> list[str]:
    """`y = Gemm(x, w) transB=1` for each node."""
    lines = []
    for node in model.graph:
        inputs = ", ".join(str(value.name) if value is not None else "" for value in node.inputs)
        attributes = "".join(f" {name}={each.value}" for name, each in sorted(node.attributes.items()))
        lines.append(f"{', '.join(str(value.name) for value in node.outputs)} = {node.op_type}({inputs}){attributes}")
    return lines


def constant(model: ir.Model, name: str) -> Array:
    value = model.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


def run(model: ir.Model, **inputs: Array) -> Array:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def check(model: ir.Model, rewrite: Pass, expected: list[str], x: Array, *, atol: float = 1e-6) -> None:
    """The pass makes the expected graph, which computes the same; a second time it changes nothing."""
    before = run(model, x=x)
    for _ in range(2):
        rewrite(model)
        assert nodes(model) == expected
    np.testing.assert_allclose(run(model, x=x), before, rtol=1e-6, atol=atol)


def floats(*shape: int) -> Array:
    return RANDOM.standard_normal(shape, dtype=np.float32)


IMAGES = floats(2, 3, 4, 4)


class TestGlobalAveragePool:
    @pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
    def test_a_mean_over_height_and_width_that_keeps_its_axes(self, axes: list[int]) -> None:
        model = model_of(
            "(float[N,3,4,4] x) => (float[N,3,1,1] y) { y = ReduceMean<keepdims=1>(x, axes) }", axes=np.int64(axes)
        )
        check(model, passes.use_global_average_pool, ["y = GlobalAveragePool(x)"], IMAGES)

    def test_one_that_drops_them_is_flattened_behind(self) -> None:
        model = model_of(
            "(float[N,3,4,4] x) => (float[N,3] y) { m = ReduceMean<keepdims=0>(x, axes) y = Relu(m) }",
            axes=np.int64([2, 3]),
        )
        passes.use_global_average_pool(model)
        pooled = model.graph[0].outputs[0].name
        assert nodes(model) == [f"{pooled} = GlobalAveragePool(x)", f"m = Flatten({pooled}) axis=1", "y = Relu(m)"]
        np.testing.assert_allclose(run(model, x=IMAGES), np.maximum(IMAGES.mean((2, 3)), 0), rtol=1e-5, atol=1e-6)

    def test_a_mean_over_channels_stays(self) -> None:
        text = "(float[N,3,4,4] x) => (float[N,1,4,4] y) { y = ReduceMean<keepdims=1>(x, axes) }"
        model = model_of(text, axes=np.int64([1]))
        check(model, passes.use_global_average_pool, ["y = ReduceMean(x, axes) keepdims=1"], IMAGES)


class TestShapes:
    DYNAMIC = """(float[N,3,4,4] x) => (float[N,48] y) {
        size = Shape<start=0, end=1>(x)
        shape = Concat<axis=0>(size, rest)
        y = Reshape(x, shape)
    }"""

    def test_a_reshape_to_batch_and_the_rest_is_a_flatten(self) -> None:
        model = model_of(self.DYNAMIC, rest=np.int64([48]))
        passes.use_flatten(model)
        check(model, passes.drop_unused, ["y = Flatten(x) axis=1"], IMAGES)

    def test_a_reshape_that_splits_the_batch_stays(self) -> None:
        text = "(float[N,3,4,4] x) => (float[M,24] y) { y = Reshape(x, shape) }"
        model = model_of(text, shape=np.int64([-1, 24]))
        check(model, passes.use_flatten, ["y = Reshape(x, shape)"], IMAGES)

    def test_a_computed_shape_with_one_unknown_size_becomes_a_constant(self) -> None:
        model = model_of(self.DYNAMIC.replace("float[N,48]", "float[N,3,16]"), rest=np.int64([3, 16]))
        passes.use_constant_shapes(model)
        check(model, passes.drop_unused, ["y = Reshape(x, y.shape)"], IMAGES)
        assert constant(model, "y.shape").tolist() == [-1, 3, 16]

    def test_one_with_two_unknown_sizes_stays(self) -> None:
        text = """(float[N,3,H,4] x) => (float[N,H,12] y) {
            shape = Shape(like)
            y = Reshape(x, shape)
        }"""
        model = model_of(text.replace("x)", "x, float[N,H,12] like)", 1))
        before = nodes(model)
        passes.use_constant_shapes(model)
        assert nodes(model) == before


def test_nodes_and_constants_that_nothing_reads_go() -> None:
    text = "(float[N,3,4,4] x) => (float[N,3,4,4] y) { lost = Add(x, unread) lost2 = Relu(lost) y = Relu(x) }"
    model = model_of(text, unread=floats(1))
    check(model, passes.drop_unused, ["y = Relu(x)"], IMAGES)
    assert not model.graph.initializers


class TestNames:
    def test_layers_are_called_as_their_modules_and_other_nodes_after_them(self) -> None:
        text = "(float[N,4] x) => (float[N,4] y) { a = MatMul(x, w) b = MatMul(a, w) c = Relu(b) y = Neg(c) }"
        model = model_of(text, w=floats(4, 4))
        scopes = [["", "head.fc", "linear"], ["", "head.fc", "linear_1"], ["", "head", "relu"], ["", "neg"]]
        for node, names in zip(model.graph, scopes, strict=True):
            node.metadata_props[SCOPES] = str(names)
        passes.name_nodes_after_modules(model)
        assert [node.name for node in model.graph] == ["head.fc", "head.fc#2", "head/Relu", "Neg"]

    def test_names_that_two_nodes_or_values_have_are_numbered(self) -> None:
        model = model_of("(float[N,4] x) => (float[N,4] y) { a = Relu(x) b = Neg(a) y = Relu(b) }")
        for node in model.graph:
            node.name = "same"
            node.outputs[0].name = "t" if node.outputs[0].name != "y" else "y"
        passes.fix_names(model)
        assert len({node.name for node in model.graph}) == 3
        check(model, passes.fix_names, nodes(model), floats(2, 4))


def test_nothing_is_left_of_what_the_exporter_notes_about_the_machine() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        a = Relu(x)
        y = If (c) <
            then_branch = t () => (float[N,4] u) { u = Neg(a) },
            else_branch = e () => (float[N,4] v) { v = Abs(a) }
        >
    }"""
    model = model_of(text)
    secret = {"pkg.torch.onnx.stack_trace": "File /home/me/net.py"}
    model.metadata_props.update(secret)
    model.doc_string = model.graph.doc_string = "/home/me"
    for node in model.graph.all_nodes():
        node.doc_string = "/home/me"
        node.metadata_props.update(secret)
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                value.metadata_props.update(secret)
    before = nodes(model)
    passes.strip_metadata(model)
    assert nodes(model) == before
    assert b"/home/me" not in ir.to_proto(model).SerializeToString()


def quantized(array: Array, axis: int, scale: Array) -> Array:
    shape = [-1 if each == axis else 1 for each in range(array.ndim)]
    return np.clip(np.rint(array / scale.reshape(shape)), -127, 127).astype(np.int8)


class TestWeights:
    SCALES = np.float32([0.01, 0.02, 0.03, 0.04])

    def test_scales_along_the_inputs_of_a_layer_become_a_float_weight(self) -> None:
        weight = floats(4, 4)
        model = model_of(
            "(float[N,4] x) => (float[N,4] y) { w = DequantizeLinear<axis=0>(q, s) y = MatMul(x, w) }",
            q=quantized(weight, 0, self.SCALES),
            s=self.SCALES,
        )
        before = run(model, x=np.eye(4, dtype=np.float32))
        passes.dequantize_across_channels(model)
        check(model, passes.drop_unused, ["y = MatMul(x, y.weight)"], floats(2, 4))
        np.testing.assert_array_equal(constant(model, "y.weight"), before)

    @pytest.mark.parametrize(("layer", "axis"), [("MatMul", 1), ("Gemm<transB=1>", 0)])
    def test_scales_along_its_outputs_stay(self, layer: str, axis: int) -> None:
        text = f"(float[N,4] x) => (float[N,4] y) {{ w = DequantizeLinear<axis={axis}>(q, s) y = {layer}(x, w) }}"
        model = model_of(text, q=quantized(floats(4, 4), axis, self.SCALES), s=self.SCALES)
        check(model, passes.dequantize_across_channels, nodes(model), floats(2, 4))

    def test_two_layers_of_one_weight_get_a_dequantization_and_constants_each(self) -> None:
        text = """(float[N,4] x) => (float[N,4] y) {
            w = DequantizeLinear<axis=1>(q, s)
            a = MatMul(x, w)
            y = MatMul(a, w)
        }"""
        model = model_of(text, q=quantized(floats(4, 4), 1, self.SCALES), s=self.SCALES)

        x = floats(2, 4)
        before = run(model, x=x)
        passes.own_weights(model)
        passes.own_weight_constants(model)
        assert nodes(model) == [
            "w = DequantizeLinear(y.weight, y.weight_scale) axis=1",
            "val_0 = DequantizeLinear(a.weight, a.weight_scale) axis=1",
            "a = MatMul(x, val_0)",
            "y = MatMul(a, w)",
        ]
        assert sorted(model.graph.initializers) == ["a.weight", "a.weight_scale", "y.weight", "y.weight_scale"]
        np.testing.assert_array_equal(run(model, x=x), before)


class TestBiases:
    TEXT = """(float[N,4] x) => (float[N,4] y) {
        xq = QuantizeLinear(x, xs, xz)
        xd = DequantizeLinear(xq, xs, xz)
        w = DequantizeLinear<axis=0>(q, s)
        y = Gemm<transB=1>(xd, w, bias)
    }"""

    def model(self, scales: Array, bias: Array) -> ir.Model:
        weight = quantized(floats(4, 4), 0, scales)
        return model_of(self.TEXT, q=weight, s=scales, bias=bias, xs=np.float32(0.02), xz=np.uint8(128))

    def test_they_become_int32_in_steps_of_input_scale_times_weight_scale(self) -> None:
        scales, bias = np.float32([0.01, 0.02, 0.03, 0.04]), np.float32([0.5, -1.0, 0.0, 2.0])
        model = self.model(scales, bias)
        expected = [*nodes(model)[:3], "y.bias = DequantizeLinear(y.bias_int32, y.bias_scale) axis=0"]
        expected.append("y = Gemm(xd, w, y.bias) transB=1")
        # Half a step at most is lost: 0.02 * 0.04 / 2.
        check(model, passes.quantize_biases, expected, floats(2, 4), atol=0.0004)
        np.testing.assert_allclose(constant(model, "y.bias_scale"), 0.02 * scales)
        # 0.5 / (0.02 * 0.01), -1 / (0.02 * 0.02), 0, 2 / (0.02 * 0.04)
        assert constant(model, "y.bias_int32").tolist() == [2500, -2500, 0, 2500]
        assert "bias" not in model.graph.initializers

    def test_of_a_nearly_dead_channel_the_weight_scale_is_raised_until_the_bias_fits(self) -> None:
        scales, bias = np.float32([1e-12, 0.02, 0.03, 0.04]), np.float32([1.0, 0, 0, 0])
        model = self.model(scales, bias)
        before = run(model, x=np.zeros((1, 4), np.float32))
        passes.quantize_biases(model)
        assert constant(model, "y.bias_int32")[0] == 2**30
        raised = constant(model, "y.weight_scale")
        np.testing.assert_allclose(raised, [1 / (0.02 * 2**30), 0.02, 0.03, 0.04], rtol=1e-6)
        np.testing.assert_allclose(run(model, x=np.zeros((1, 4), np.float32)), before, rtol=1e-6)

    def test_that_of_a_float_layer_stays(self) -> None:
        model = model_of("(float[N,4] x) => (float[N,4] y) { y = Gemm(x, w, b) }", w=floats(4, 4), b=floats(4))
        check(model, passes.quantize_biases, ["y = Gemm(x, w, b)"], floats(2, 4))


class TestGemm:
    def test_a_product_of_rows_and_its_bias(self) -> None:
        text = "(float[N,4] x) => (float[N,3] y) { p = MatMul(x, w) y = Add(p, b) }"
        model = model_of(text, w=floats(4, 3), b=floats(3))
        check(model, use_gemm, ["y = Gemm(x, w, b) transB=0"], floats(2, 4))

    def test_of_a_sequence_the_rows_are_put_together_and_taken_apart_behind(self) -> None:
        text = "(float[N,5,4] x) => (float[N,5,3] y) { p = MatMul(x, w) y = Add(p, b) }"
        model = model_of(text, w=floats(4, 3), b=floats(3))
        x = floats(2, 5, 4)
        before = run(model, x=x)
        use_gemm(model)
        assert [node.op_type for node in model.graph] == ["Reshape", "Gemm", "Reshape"]
        assert constant(model, "p/Rows.shape").tolist() == [-1, 4]
        assert constant(model, "p/Restored.shape").tolist() == [-1, 5, 3]
        np.testing.assert_allclose(run(model, x=x), before, rtol=1e-6)

    def test_the_integers_are_reshaped_and_not_what_they_stand_for(self) -> None:
        text = """(float[N,5,4] x) => (float[N,5,3] y) {
            xq = QuantizeLinear(x, xs, xz)
            xd = DequantizeLinear(xq, xs, xz)
            w = DequantizeLinear<axis=1>(q, s)
            p = MatMul(xd, w)
            r = Relu(p)
            rq = QuantizeLinear(r, xs, xz)
            y = DequantizeLinear(rq, xs, xz)
        }"""
        scales = np.float32([0.01, 0.02, 0.03])
        constants = {"q": quantized(floats(4, 3), 1, scales), "s": scales, "xs": np.float32(0.05), "xz": np.uint8(100)}
        model = model_of(text, **constants)
        x = floats(2, 5, 4)
        before = run(model, x=x)
        use_gemm(model)
        passes.drop_unused(model)
        order = ["QuantizeLinear", "Reshape", "DequantizeLinear", "Gemm", "Relu", "QuantizeLinear", "Reshape"]
        found = [node.op_type for node in model.graph if node.outputs[0].name != "w"]
        assert found == [*order, "DequantizeLinear"]
        np.testing.assert_array_equal(run(model, x=x), before)

    def test_a_product_of_two_activations_stays(self) -> None:
        model = model_of("(float[N,4,4] x) => (float[N,4,4] y) { y = MatMul(x, x) }")
        check(model, use_gemm, ["y = MatMul(x, x)"], floats(2, 4, 4))


def test_the_reset_gate_of_a_gru_acts_after_the_product_as_torchs_does() -> None:
    text = "(float[5,N,4] x) => (float[5,1,N,3] y) { y = GRU<hidden_size=3>(x, w, r, b) }"
    model = model_of(text, w=floats(1, 9, 4), r=floats(1, 9, 3), b=floats(1, 18))
    reset_after_product(model)
    assert nodes(model) == ["y = GRU(x, w, r, b) hidden_size=3 linear_before_reset=1"]
    import torch

    gru = torch.nn.GRU(4, 3)
    w, r, b = (torch.from_numpy(constant(model, name)[0]) for name in ("w", "r", "b"))
    order = [*range(3, 6), *range(3), *range(6, 9)]  # ONNX: update, reset, hidden; torch: reset, update, hidden
    with torch.no_grad():
        gru.weight_ih_l0.copy_(w[order])
        gru.weight_hh_l0.copy_(r[order])
        gru.bias_ih_l0.copy_(b[:9][order])
        gru.bias_hh_l0.copy_(b[9:][order])
        x = floats(5, 2, 4)
        expected = gru(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(run(model, x=x)[:, 0], expected, rtol=1e-5, atol=1e-6)
