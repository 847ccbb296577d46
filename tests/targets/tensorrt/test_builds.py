"""Real engines, built without a GPU by TensorRT-RTX."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from oracles.onnx_files import CHANNELS, INPUT_SHAPE, float_network, qdq_network, save

from harness.errors import StageError
from harness.exporting.fp16 import convert_to_fp16
from harness.results import Layer
from harness.targets.base import Target
from harness.targets.engine_record import EngineRecord
from harness.targets.tensorrt.options import TensorRtBuildOptions

SAMPLES = np.random.default_rng(0).standard_normal((2, *INPUT_SHAPE)).astype(np.float32)
PROFILE = {"min": 4, "opt": 2, "max": 2}
WEIGHTS = 2 * CHANNELS * CHANNELS * 9


def options(capability: str | None = "SM86", **changes) -> TensorRtBuildOptions:
    return TensorRtBuildOptions.model_validate(
        {"compute_capability": capability, "batch_profiles": ((1, 4, 4),)} | changes
    )


def weighted(target: Target, path: Path, folder: Path, **changes) -> list[Layer]:
    engine = target.build(path, folder, options(**changes))
    return [layer for layer in target.audit(engine.path, path) if layer.weight_type is not None]


@pytest.mark.parametrize("capability", ["SM86", "SM89", None], ids=str)
def test_quantized_convolutions_run_in_int8(rtx: Target, tmp_path: Path, capability: str | None):
    layers = weighted(rtx, qdq_network(tmp_path / "q.onnx"), tmp_path, capability=capability)
    assert [(layer.name, layer.int8, layer.input_type, layer.weight_type) for layer in layers] == [
        ("conv1", True, "Int8", "Int8"),
        ("conv2", True, "Int8", "Int8"),
    ]


def test_with_fp16_as_the_high_precision_they_still_do(rtx: Target, tmp_path: Path):
    path = tmp_path / "h.onnx"
    convert_to_fp16(qdq_network(tmp_path / "q.onnx"), path, SAMPLES)
    assert all(layer.int8 for layer in weighted(rtx, path, tmp_path))


def test_sm75_falls_back_to_float_and_the_audit_says_so(rtx: Target, tmp_path: Path):
    path = tmp_path / "h.onnx"
    convert_to_fp16(qdq_network(tmp_path / "q.onnx"), path, SAMPLES)
    layers = weighted(rtx, path, tmp_path, capability="SM75")
    assert [layer.int8 for layer in layers] == [False, False]
    assert {layer.reason for layer in layers} == {
        "left in FP16: TensorRT-RTX has no INT8 kernels for SM75 and computes on dequantized values"
    }


def test_a_failed_build_does_not_spoil_the_next_one(rtx: Target, tmp_path: Path):
    """In one process the build after this failure left every convolution in float."""
    path = qdq_network(tmp_path / "q.onnx")
    failing = TensorRtBuildOptions(compute_capability="SM75", batch_profiles=((1, 4, 4),))
    gemm = save(tmp_path / "g.onnx", [helper.make_node("MatMul", ["input", "input"], ["output"], name="product")], [])
    with pytest.raises(StageError, match=r"g\.onnx.*FP32 GEMM is not supported") as caught:
        rtx.build(gemm, tmp_path, failing)
    assert "--fp16" in str(caught.value.fix)
    assert all(layer.int8 for layer in weighted(rtx, path, tmp_path, capability="SM80"))


def test_fp32_and_fp16_engines_have_no_int8_layer(rtx: Target, tmp_path: Path):
    path = float_network(tmp_path / "f.onnx")
    half = tmp_path / "h.onnx"
    convert_to_fp16(path, half, SAMPLES)
    full, reduced = weighted(rtx, path, tmp_path), weighted(rtx, half, tmp_path)
    assert {(layer.input_type, layer.int8) for layer in full} == {("Float", False)}
    assert {(layer.input_type, layer.int8) for layer in reduced} == {("Half", False)}


def test_weight_bytes_are_those_of_the_precision(rtx: Target, tmp_path: Path):
    half = tmp_path / "h.onnx"
    convert_to_fp16(float_network(tmp_path / "f.onnx"), half, SAMPLES)
    bytes_of = {
        bits: rtx.build(path, tmp_path, options()).weight_bytes
        for bits, path in ((32, tmp_path / "f.onnx"), (16, half), (8, qdq_network(tmp_path / "q.onnx")))
    }
    for bits, found in bytes_of.items():
        # Scales and biases of a channel come on top: a handful of FP32 numbers for each of 2 x 32 channels.
        assert WEIGHTS * bits // 8 <= found <= WEIGHTS * bits // 8 + 2 * CHANNELS * 4 * 8


def test_builds_repeat_byte_for_byte(rtx: Target, tmp_path: Path):
    path = qdq_network(tmp_path / "q.onnx")
    first = rtx.build(path, tmp_path, options()).path.read_bytes()
    assert rtx.build(path, tmp_path, options()).path.read_bytes() == first


def test_engines_differ_between_capabilities(rtx: Target, tmp_path: Path):
    path = qdq_network(tmp_path / "q.onnx")
    first = rtx.build(path, tmp_path, options("SM86")).path.read_bytes()
    assert rtx.build(path, tmp_path, options("SM89")).path.read_bytes() != first


def test_the_record_beside_the_engine_says_what_it_is(rtx: Target, tmp_path: Path):
    path = qdq_network(tmp_path / "q.onnx", named=False)
    engine = rtx.build(path, tmp_path, options("SM89", verbose=True))
    record = EngineRecord.load(engine.path)
    assert record is not None
    assert record.builder.startswith("tensorrt_rtx 1.")
    assert record.compute_capability == "SM89"
    assert [layer.name for layer in record.layers if layer.weight_type] == ["conv1.out", "conv2.out"]
    assert record.layers == rtx.audit(engine.path, path)
    assert "VERBOSE: " in (tmp_path / "build.log").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"workspace_mib": 64},
        {"optimization_level": 0},
        {"version_compatible": True},
        {"tf32": True},
        {"batch_profiles": ((1, 1, 1), (2, 8, 16))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_builder_options_are_taken(rtx: Target, tmp_path: Path, changes):
    assert all(layer.int8 for layer in weighted(rtx, qdq_network(tmp_path / "q.onnx"), tmp_path, **changes))


def test_a_timing_cache_is_written_and_read_again(rtx: Target, tmp_path: Path):
    path, cache = qdq_network(tmp_path / "q.onnx"), tmp_path / "timings"
    rtx.build(path, tmp_path, options(timing_cache=str(cache)))
    assert cache.stat().st_size > 0
    assert all(layer.int8 for layer in weighted(rtx, path, tmp_path, timing_cache=str(cache)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timing_cache": "/dev/null/cache"}, "cannot write the timing cache"),
        ({"hardware_compatibility": "ampere_plus"}, "takes no notice of hardware compatibility"),
        ({"compute_capability": "CURRENT"}, "cannot build for CURRENT"),
        (
            {"shape_profiles": ({"input": {key: (size, *INPUT_SHAPE) for key, size in PROFILE.items()}},)},
            r"refuses the profile `input` \(4, 32, 16, 16\), \(2, 32, 16, 16\), \(2, 32, 16, 16\)",
        ),
    ],
    ids=["timing_cache", "hardware_compatibility", "capability", "profile"],
)
def test_options_that_cannot_be_met_are_errors_with_a_fix(rtx: Target, tmp_path: Path, changes, words: str):
    with pytest.raises(StageError, match=words) as caught:
        rtx.build(qdq_network(tmp_path / "q.onnx"), tmp_path, options(**changes))
    assert caught.value.fix


def test_an_unknown_capability_names_the_nearest(rtx: Target, tmp_path: Path):
    with pytest.raises(StageError, match="cannot build for SM90") as caught:
        rtx.build(qdq_network(tmp_path / "q.onnx"), tmp_path, options("SM90"))
    assert caught.value.fix == "did you mean SM89?"


def test_an_operator_of_another_domain_is_named(rtx: Target, tmp_path: Path):
    node = helper.make_node("Magic", ["input"], ["output"], name="trick", domain="my.domain")
    path = save(tmp_path / "o.onnx", [node], [], opsets=[helper.make_opsetid("my.domain", 1)])
    with pytest.raises(StageError, match=r"o\.onnx at node `trick` \(Magic\)"):
        rtx.build(path, tmp_path, options())


def test_an_operator_of_onnx_that_tensorrt_lacks_is_named(rtx: Target, tmp_path: Path):
    path = save(tmp_path / "d.onnx", [helper.make_node("Det", ["input"], ["output"], name="determinant")], [])
    with pytest.raises(StageError, match=r"d\.onnx at node `determinant` \(Det\)") as caught:
        rtx.build(path, tmp_path, options())
    assert caught.value.fix == "replace the operator by ones that TensorRT has"


def test_flags_that_need_a_gpu_fail_with_what_the_builder_says(rtx: Target, tmp_path: Path):
    from harness.targets.tensorrt.gpu import find_gpu

    if find_gpu() is not None:
        pytest.skip("there is a GPU here")
    with pytest.raises(StageError, match=r"tensorrt_rtx cannot build q\.onnx: \w+") as caught:
        rtx.build(qdq_network(tmp_path / "q.onnx"), tmp_path, options(strip_weights=True, verbose=True))
    assert "on a machine with a GPU" in str(caught.value.fix)
    assert "ERROR: " in (tmp_path / "build.log").read_text()


def test_a_builder_that_dies_is_an_error_of_this_build(rtx: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.targets.tensorrt.process._BUILDER", "oracles.children:abort")
    with pytest.raises(StageError, match=r"tensorrt_rtx failed while it built q\.onnx: crashed with signal SIGABRT"):
        rtx.build(qdq_network(tmp_path / "q.onnx"), tmp_path, options())


def test_the_file_given_is_left_as_it_is(rtx: Target, tmp_path: Path):
    path = qdq_network(tmp_path / "q.onnx", named=False)
    before = path.read_bytes()
    rtx.build(path, tmp_path, options())
    assert path.read_bytes() == before
    assert not any(node.name for node in onnx.load(path).graph.node)
