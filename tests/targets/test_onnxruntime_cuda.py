"""Target `onnxruntime-cuda`: everything but CUDA itself runs here, through the CPU provider in its place."""

import json
from pathlib import Path

import numpy as np
import pytest
from oracles.onnx_files import CHANNELS, INPUT_SHAPE, float_network, qdq_network

from harness.errors import StageError
from harness.exporting.fp16 import convert_to_fp16
from harness.results import Layer, Variant
from harness.runs.availability import unavailable_reason
from harness.targets import get_target
from harness.targets.engine_record import EngineRecord
from harness.targets.onnxruntime.installed import Build, read_build
from harness.targets.onnxruntime.session import CPU_PROVIDERS, OnnxRuntimeSession
from harness.targets.onnxruntime_cuda import OnnxRuntimeCudaOptions, OnnxRuntimeCudaSettings
from harness.targets.onnxruntime_cuda.audit import audit, layers_from_profile
from harness.targets.onnxruntime_cuda.session import IoDevice, build, cuda_device, open_session
from harness.targets.tensorrt.gpu import TensorRtGpu

TARGET = get_target("onnxruntime-cuda")
CPU = IoDevice("cpu", CPU_PROVIDERS, "CPUExecutionProvider")
OPTIONS = OnnxRuntimeCudaOptions(batch_size=2)
BATCH = np.random.default_rng(0).standard_normal((2, *INPUT_SHAPE)).astype(np.float32)
MACS = 16 * 16 * CHANNELS * CHANNELS * 9  # 32 outputs on 16 x 16, 32 inputs, 3 x 3


def variant(method: str, **changes) -> Variant:
    fields = {"id": "v", "model": "m", "method": method, "target": TARGET.name, "batch_size": 2}
    return Variant.model_validate(fields | changes)


class TestAvailability:
    @pytest.fixture(autouse=True)
    def no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set_gpu(monkeypatch, None)

    @staticmethod
    def set_gpu(monkeypatch: pytest.MonkeyPatch, gpu: TensorRtGpu | None) -> None:
        monkeypatch.setattr("harness.targets.onnxruntime_cuda.find_gpu", lambda: gpu)

    @staticmethod
    def set_build(monkeypatch: pytest.MonkeyPatch, found: Build | None) -> None:
        monkeypatch.setattr("harness.targets.onnxruntime_cuda.installed_build", lambda: found)

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            (None, "`onnxruntime-gpu` is not installed"),
            (Build("onnxruntime", "1.32.0", None), "onnxruntime 1.32.0 is the build without CUDA"),
        ],
        ids=["nothing", "cpu"],
    )
    def test_without_the_gpu_build_it_names_the_command(self, monkeypatch: pytest.MonkeyPatch, found, words: str):
        self.set_build(monkeypatch, found)
        availability = TARGET.availability()
        assert not availability.usable
        assert words in availability.detail
        assert availability.fix == "pip install --force-reinstall --no-deps onnxruntime-gpu"

    def test_the_gpu_build_without_a_device_says_so(self, monkeypatch: pytest.MonkeyPatch):
        self.set_build(monkeypatch, Build("onnxruntime-gpu", "1.31.1", "13.0"))
        availability = TARGET.availability()
        assert not availability.usable
        assert availability.detail == (
            "onnxruntime-gpu 1.31.1 (CUDA 13.0) is installed, but there is no CUDA device here"
        )
        assert availability.fix

    def test_its_rows_in_a_scenario_say_so_too(self, monkeypatch: pytest.MonkeyPatch):
        self.set_build(monkeypatch, None)
        reason = str(unavailable_reason(variant("ptq")))
        assert reason.endswith("fix: pip install --force-reinstall --no-deps onnxruntime-gpu")

    def test_with_both_it_is_usable(self, monkeypatch: pytest.MonkeyPatch):
        self.set_build(monkeypatch, Build("onnxruntime-gpu", "1.31.1", "13.0"))
        self.set_gpu(monkeypatch, TensorRtGpu("H100", "SM90"))
        assert TARGET.availability().usable
        assert TARGET.availability().detail.endswith("H100, SM90")

    def test_the_folder_tells_the_build_whatever_pip_lists(self, tmp_path: Path):
        assert read_build(tmp_path) is None
        (tmp_path / "capi").mkdir()
        info = tmp_path / "capi" / "build_and_package_info.py"
        info.write_text("package_name = 'onnxruntime'\n__version__ = '1.32.0'\n")
        assert read_build(tmp_path) == Build("onnxruntime", "1.32.0", None)
        info.write_text("package_name = 'onnxruntime-gpu'\n__version__ = '1.31.1'\ncuda_version = '13.0'\n")
        (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").touch()
        assert read_build(tmp_path) == Build("onnxruntime-gpu", "1.31.1", "13.0")


class TestSession:
    def test_outputs_come_back_from_bound_buffers_for_any_batch(self, tmp_path: Path):
        path = float_network(tmp_path / "f.onnx")
        session = open_session(path, OPTIONS, CPU)
        plain = OnnxRuntimeSession(path, get_target("onnxruntime").build_options(variant("fp32"), 1))
        for batch in (BATCH, -BATCH, BATCH[:1], BATCH):
            np.testing.assert_allclose(session.run(batch), plain.run(batch), rtol=1e-4, atol=1e-5)

    def test_an_output_is_not_overwritten_by_the_next_inference(self, tmp_path: Path):
        session = open_session(float_network(tmp_path / "f.onnx"), OPTIONS, CPU)
        first = session.run(BATCH)
        kept = first.copy()
        session.run(-BATCH)
        np.testing.assert_array_equal(first, kept)

    def test_buffers_are_made_once_for_a_shape(self, tmp_path: Path):
        session = open_session(float_network(tmp_path / "f.onnx"), OPTIONS, CPU)
        session.run(BATCH)
        bound = session._input.data_ptr(), session._output.data_ptr()
        session.time_runs(-BATCH, 3)
        session.run(BATCH)
        assert (session._input.data_ptr(), session._output.data_ptr()) == bound
        assert session.includes_transfers

    def test_it_times_each_inference(self, tmp_path: Path):
        times_ms = open_session(float_network(tmp_path / "f.onnx"), OPTIONS, CPU).time_runs(BATCH, 4)
        assert len(times_ms) == 4
        assert all(ms > 0 for ms in times_ms)

    def test_without_its_provider_nothing_is_run_on_another_one(self, tmp_path: Path):
        path = float_network(tmp_path / "f.onnx")
        with pytest.raises(StageError, match="would run on the CPU instead") as caught:
            open_session(path, OPTIONS, CPU._replace(required="CUDAExecutionProvider"))
        assert "onnxruntime-gpu[cuda,cudnn]" in str(caught.value.fix)

    @pytest.mark.parametrize(("tf32", "flag"), [(False, "0"), (True, "1")])
    def test_tf32_is_off_unless_it_is_asked_for(self, tf32: bool, flag: str):
        options = TARGET.build_options(variant("fp32"), 1, OnnxRuntimeCudaSettings.model_validate({"tf32": tf32}))
        assert isinstance(options, OnnxRuntimeCudaOptions)
        (cuda, cpu) = cuda_device(tf32=options.tf32).providers
        assert cuda == ("CUDAExecutionProvider", {"device_id": "0", "use_tf32": flag})
        assert cpu == "CPUExecutionProvider"


class TestBuild:
    def test_the_record_says_who_ran_each_node(self, tmp_path: Path):
        path = float_network(tmp_path / "f.onnx")
        engine = build(path, tmp_path, OPTIONS, CPU)
        record = EngineRecord.load(engine.path)
        assert record is not None
        assert record.builder.startswith("onnxruntime 1.")
        assert {layer.provider for layer in record.engine_layers} == {"CPUExecutionProvider"}
        assert record.layers == TARGET.audit(engine.path, path)
        weighted = [layer for layer in record.layers if layer.weight_type is not None]
        assert [(layer.name, layer.macs, layer.provider) for layer in weighted] == [
            ("conv1", MACS, "CPU"),
            ("conv2", MACS, "CPU"),
        ]

    def test_the_engine_is_the_file_and_holds_its_weights(self, tmp_path: Path):
        path = qdq_network(tmp_path / "q.onnx")
        engine = build(path, tmp_path, OPTIONS, CPU)
        assert engine.path.read_bytes() == path.read_bytes()
        # Two int8 weights, and for each of their channels an FP32 scale and an int8 zero point.
        assert engine.weight_bytes == 2 * (CHANNELS * CHANNELS * 9 + CHANNELS * (4 + 1))

    def test_a_height_that_is_dynamic_cannot_be_profiled(self, tmp_path: Path):
        import onnx

        model = onnx.load(float_network(tmp_path / "f.onnx"))
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
        del model.graph.output[0].type.tensor_type.shape.dim[:]
        onnx.save(model, tmp_path / "d.onnx")
        with pytest.raises(StageError, match=r"input `input` has the dynamic shape \?x32x\?x16"):
            build(tmp_path / "d.onnx", tmp_path, OPTIONS, CPU)

    def test_an_engine_without_its_record(self, tmp_path: Path):
        with pytest.raises(StageError, match=r"has no `\.audit\.json` beside it"):
            TARGET.audit(float_network(tmp_path / "f.onnx"), tmp_path / "f.onnx")


def node(name: str, op: str, inputs: list[str], output: str = "float", provider: str = "CUDA", index: int = 0):
    """One event of a profile, as ONNX Runtime 1.32 writes it."""
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "args": {
            "op_name": op,
            "provider": f"{provider}ExecutionProvider",
            "node_index": str(index),
            "input_type_shape": [{element_type: [1]} for element_type in inputs],
            "output_type_shape": [{output: [1]}],
        },
    }


def convolutions(element_type: str = "float", **changes):
    return [node(f"conv{index}", "Conv", [element_type] * 2, element_type, index=index, **changes) for index in (1, 2)]


def audited(path: Path, *events) -> dict[str, Layer]:
    return {layer.name: layer for layer in audit(layers_from_profile(events), path)}


class TestAudit:
    def test_quantized_convolutions_run_in_float_on_cuda(self, tmp_path: Path):
        found = audited(qdq_network(tmp_path / "q.onnx"), *convolutions())
        assert {(each.int8, each.weight_type, each.provider, each.reason) for each in found.values()} == {
            (
                False,
                "float",
                "CUDA",
                "left in FP32: the CUDA provider has no integer Conv; it computes on dequantized values",
            )
        }

    @pytest.mark.parametrize(("element_type", "precision"), [("float", "FP32"), ("float16", "FP16")])
    def test_what_was_never_quantized_is_told_apart(self, tmp_path: Path, element_type: str, precision: str):
        found = audited(float_network(tmp_path / "f.onnx"), *convolutions(element_type))
        assert {each.reason for each in found.values()} == {f"left in {precision}: not quantized in the ONNX file"}
        assert [each.macs for each in found.values()] == [MACS, MACS]

    def test_a_fall_back_to_the_cpu_is_told_with_its_copies(self, tmp_path: Path):
        events = [
            *convolutions(),
            node("conv1/Relu", "Relu", ["float"], provider="CPU", index=3),
            node("Memcpy_token_1", "MemcpyToHost", ["float"], index=4),
            node("conv2/Quantize", "QuantizeLinear", ["float", "float", "int8"], "int8", index=5),
            node("bias/Dequantize", "DequantizeLinear", ["int32", "float"], provider="CPU", index=6),
        ]
        found = audited(qdq_network(tmp_path / "q.onnx"), *events)
        assert {name: (each.provider, each.reason) for name, each in found.items() if each.weight_type is None} == {
            "conv1/Relu": ("CPU", "ran on the CPU: the CUDA provider has no Relu kernel for float"),
            "Memcpy_token_1": ("CUDA", "copies between GPU and CPU, for a node that runs on the CPU"),
            "conv2/Quantize": ("CUDA", None),
            "bias/Dequantize": ("CPU", "ran on the CPU: the CUDA provider has no DequantizeLinear kernel for int32"),
        }

    def test_a_convolution_on_the_cpu_is_no_convolution_on_the_gpu(self, tmp_path: Path):
        found = audited(float_network(tmp_path / "f.onnx"), *convolutions(provider="CPU"))
        assert found["conv1"].reason == "left in FP32, on the CPU: the CUDA provider has no Conv kernel for it"

    def test_an_integer_kernel_is_told_whoever_has_it(self, tmp_path: Path):
        # QLinearConv takes x, its scale and zero point, then w.
        types = ["int8", "float", "int8", "int8", "float", "int8"]
        integer = node("conv2_quant", "QLinearConv", types, "int8", provider="CPU", index=2)
        found = audited(qdq_network(tmp_path / "q.onnx"), convolutions()[0], integer)
        assert (found["conv2"].int8, found["conv2"].weight_type, found["conv2"].provider) == (True, "int8", "CPU")

    def test_a_node_that_did_not_run_is_not_counted(self, tmp_path: Path):
        found = audited(qdq_network(tmp_path / "q.onnx"), convolutions()[0])
        assert (found["conv2"].int8, found["conv2"].macs) == (False, MACS)
        assert "not found" in str(found["conv2"].reason)

    def test_several_inferences_are_one(self):
        assert len(layers_from_profile([*convolutions(), *convolutions()])) == 2

    def test_other_events_are_no_nodes(self):
        session = {"cat": "Session", "name": "model_run", "args": {}}
        fence = node("conv1", "Conv", ["float"]) | {"name": "conv1_fence_before"}
        assert layers_from_profile(json.loads(json.dumps([session, fence]))) == ()


class TestFormat:
    def test_the_float_parts_follow_the_method(self):
        settings = TARGET.scenario_options()
        assert TARGET.float_type(variant("fp16"), settings) == "fp16"
        assert TARGET.float_type(variant("ptq"), settings) == "fp32"

    def test_it_is_that_of_tensorrt_so_that_the_same_file_serves_both(self):
        assert TARGET.number_format(8, 8) == get_target("tensorrt").number_format(8, 8)

    def test_biases_stay_float_as_there_is_no_dequantize_of_int32(self):
        assert not TARGET.integer_biases


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.fixture(autouse=True)
    def usable(self) -> None:
        if not TARGET.availability().usable:
            pytest.skip(TARGET.availability().detail)

    @pytest.mark.parametrize("kind", ["fp32", "fp16", "qdq"])
    def test_it_computes_what_the_file_says_on_cuda(self, tmp_path: Path, kind: str):
        path = qdq_network(tmp_path / "m.onnx") if kind == "qdq" else float_network(tmp_path / "m.onnx")
        expected = OnnxRuntimeSession(path, get_target("onnxruntime").build_options(variant("fp32"), 1)).run(BATCH)
        if kind == "fp16":
            convert_to_fp16(path, tmp_path / "h.onnx", BATCH)
            path = tmp_path / "h.onnx"
        (tmp_path / "engine").mkdir()
        engine = TARGET.build(path, tmp_path / "engine", OPTIONS)
        got = TARGET.open(engine.path, OPTIONS).run(BATCH)
        assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
        weighted = [layer for layer in TARGET.audit(engine.path, path) if layer.weight_type is not None]
        assert {(layer.provider, layer.int8) for layer in weighted} == {("CUDA", False)}
        assert {layer.input_type for layer in weighted} == {"float16" if kind == "fp16" else "float"}
