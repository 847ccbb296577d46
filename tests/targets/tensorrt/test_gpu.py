"""What only a GPU can show: engines that run, times that are real. `pytest -m gpu tests/targets`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.onnx_files import INPUT_SHAPE, float_network, qdq_network

from harness.errors import StageError
from harness.targets import get_target
from harness.targets.base import Target
from harness.targets.engine_record import record_path
from harness.targets.tensorrt.audit import audit
from harness.targets.tensorrt.devices import CudaDevice, PyCudaDevice, TorchDevice
from harness.targets.tensorrt.engine_file import load_engine
from harness.targets.tensorrt.gpu import find_gpu
from harness.targets.tensorrt.inspector import inspected_layers
from harness.targets.tensorrt.layers import layers_from_log
from harness.targets.tensorrt.options import TensorRtBuildOptions
from harness.targets.tensorrt.session import TensorRtSession

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(find_gpu() is None, reason="no NVIDIA GPU here")]

BATCH = np.random.default_rng(0).standard_normal((4, *INPUT_SHAPE)).astype(np.float32)
OPTIONS = TensorRtBuildOptions(batch_profiles=((1, 4, 4),))


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def target(request: pytest.FixtureRequest) -> Target:
    found = get_target(request.param)
    if not found.availability().usable:
        pytest.skip(found.availability().detail)
    gpu = find_gpu()
    assert gpu is not None
    if request.param == "tensorrt-rtx" and gpu.compute_capability == "SM90":
        pytest.skip("TensorRT-RTX has no SM90")
    return found


def reference(path: Path) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": BATCH})[0]


def test_a_version_compatible_engine_runs(target: Target, tmp_path: Path) -> None:
    """`tensorrt` puts its lean runtime into the file, which must be allowed to run."""
    path, options = float_network(tmp_path / "m.onnx"), OPTIONS.model_copy(update={"version_compatible": True})
    engine = target.build(path, tmp_path, options)
    expected = reference(path)
    assert np.abs(target.open(engine.path, options).run(BATCH) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("make", [float_network, qdq_network])
def test_an_engine_computes_what_the_onnx_file_says(target: Target, tmp_path: Path, make) -> None:
    path = make(tmp_path / "m.onnx")
    engine = target.build(path, tmp_path, OPTIONS)
    expected = reference(path)
    got = target.open(engine.path, OPTIONS).run(BATCH)
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_times_are_positive_and_split(target: Target, tmp_path: Path) -> None:
    engine = target.build(float_network(tmp_path / "m.onnx"), tmp_path, OPTIONS)
    session = target.open(engine.path, OPTIONS)
    assert isinstance(session, TensorRtSession)
    for timing in session.time_split(BATCH, 5):
        assert all(part > 0 for part in timing)


def test_a_tensor_of_torch_is_read_where_it_lies(target: Target, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    path = float_network(tmp_path / "m.onnx")
    session = target.open(target.build(path, tmp_path, OPTIONS).path, OPTIONS)
    assert isinstance(session, TensorRtSession)
    got = session.run_tensor(torch.from_numpy(BATCH).cuda())
    expected = reference(path)
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("batch", ["batch", 4], ids=["dynamic", "fixed"])
def test_the_inspector_and_the_builders_log_give_the_same_audit(target: Target, tmp_path: Path, batch) -> None:
    path = qdq_network(tmp_path / "m.onnx", batch=batch)
    engine = target.build(path, tmp_path, OPTIONS.model_copy(update={"verbose": True}))
    trt = target.library.load()
    logged = "Layers:" + (tmp_path / "build.log").read_text().rpartition("VERBOSE: Layers:")[2]
    sources = {
        "built": target.audit(engine.path, path),
        "inspected": audit(inspected_layers(load_engine(engine.path, trt), trt), path),
        "logged": audit(layers_from_log([logged]), path),
    }
    found = {key: {layer.name: layer.int8 for layer in layers if layer.weight_type} for key, layers in sources.items()}
    assert found == {key: {"conv1": True, "conv2": True} for key in sources}


def test_a_cuda_graph_computes_the_same(target: Target, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("graphs need torch with CUDA")
    path = float_network(tmp_path / "m.onnx")
    engine = target.build(path, tmp_path, OPTIONS)
    graph = target.open(engine.path, OPTIONS.model_copy(update={"cuda_graph": True}))
    plain = target.open(engine.path, OPTIONS)
    for batch in (BATCH, -BATCH, BATCH[:2]):
        np.testing.assert_allclose(graph.run(batch), plain.run(batch), rtol=1e-3, atol=1e-3)


def test_every_batch_size_finds_its_profile(target: Target, tmp_path: Path) -> None:
    path = float_network(tmp_path / "m.onnx")
    options = TensorRtBuildOptions(batch_profiles=((1, 1, 1), (2, 4, 8)))
    session = target.open(target.build(path, tmp_path, options).path, options)
    whole = np.concatenate([BATCH] * 5)  # 20 samples: two of 8 and one of 4
    expected = np.concatenate([reference(path)] * 5)
    for size in (1, 3, 8, 20):
        assert np.abs(session.run(whole[:size]) - expected[:size]).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("with_record", [True, False], ids=["record", "no_record"])
@pytest.mark.parametrize("content", [b"", b"no engine", None], ids=["empty", "text", "truncated"])
def test_a_damaged_engine_is_an_error(target: Target, tmp_path: Path, content: bytes | None, with_record: bool) -> None:
    engine = target.build(float_network(tmp_path / "m.onnx"), tmp_path, OPTIONS)
    whole = engine.path.read_bytes()
    engine.path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    if not with_record:
        record_path(engine.path).unlink()
    with pytest.raises(StageError, match=engine.path.name):
        target.open(engine.path, OPTIONS)


@pytest.fixture(params=[PyCudaDevice, TorchDevice])
def device(request: pytest.FixtureRequest) -> Iterator[CudaDevice]:
    if request.param is PyCudaDevice:
        pytest.importorskip("pycuda", reason="pycuda is not installed")
    elif not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    made = request.param()
    yield made
    made.close()


def test_a_device_copies_there_and_back_and_times_it(device: CudaDevice) -> None:
    """The half of the runner that needs no TensorRT."""
    host, back = device.host_buffer((1024,), np.dtype(np.float32)), device.host_buffer((1024,), np.dtype(np.float32))
    host[:] = np.arange(1024)
    buffer, address = device.device_buffer(host.nbytes)
    start, end = device.event(), device.event()
    device.record(start)
    device.copy_to_device(buffer, host)
    device.copy_to_host(back, buffer)
    device.record(end)
    device.synchronize()
    assert address != 0
    np.testing.assert_array_equal(back, host)
    assert device.elapsed_ms(start, end) > 0


def test_torch_and_a_device_share_the_primary_context(device: CudaDevice) -> None:
    """A tensor of torch can be copied by its address, and torch goes on working afterwards."""
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    before = torch.arange(8, dtype=torch.float32, device="cuda")
    host = device.host_buffer((8,), np.dtype(np.float32))
    buffer, _ = device.device_buffer(host.nbytes)
    host[:] = 7
    device.copy_to_device(buffer, host)
    device.synchronize()
    assert float((before * 2).sum()) == 2 * sum(range(8))


def test_a_kernel_of_torch_on_the_devices_stream_stands_between_its_events(device: CudaDevice) -> None:
    """The runner's timing half, with a torch module in the engine's place."""
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    module = torch.nn.Conv2d(32, 32, 3).cuda().eval()
    source = torch.from_numpy(BATCH).cuda()
    torch.cuda.synchronize()
    start, end = device.event(), device.event()
    with torch.no_grad(), torch.cuda.stream(torch.cuda.ExternalStream(device.stream)):
        module(source)  # warm-up
        device.record(start)
        module(source)
        device.record(end)
    device.synchronize()
    assert device.elapsed_ms(start, end) > 0
