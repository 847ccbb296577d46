"""Running an engine, against a double of the binding that has the names of one version each."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles.tensorrt_double import CLASSES, SHAPE, World

from harness.errors import StageError
from harness.targets.tensorrt.engine_file import load_engine
from harness.targets.tensorrt.options import TensorRtBuildOptions
from harness.targets.tensorrt.session import WARMUP_ENQUEUES, TensorRtSession, open_session

VERSIONS = ["tensorrt-10.0", "tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7"]


def batch(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *SHAPE)).astype(np.float32)


def session_of(world: World, **options) -> TensorRtSession:
    return TensorRtSession(world.engine(), world.trt, world.device, **options)


def means(samples: np.ndarray) -> np.ndarray:
    return np.repeat(samples.mean(axis=(1, 2, 3))[:, None], CLASSES, axis=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_outputs_come_back_through_device_memory(version: str):
    world = World(version)
    np.testing.assert_allclose(session_of(world).run(batch(4)), means(batch(4)), rtol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_context_is_made_as_the_version_wants_it(version: str):
    world = World(version)
    session_of(world)
    configured = "rtx" in version
    assert world.calls == ["create_execution_context" + (" with a runtime configuration" if configured else "")]


def test_the_order_of_calls_of_one_timed_inference():
    world = World("tensorrt-11.4")
    session = session_of(world)
    session.time_runs(batch(2), 1)
    prepared = [
        "set_input_shape 2",
        f"allocate {2 * np.prod(SHAPE) * 4}",
        "set_tensor_address input",
        f"allocate {2 * CLASSES * 4}",
        "set_tensor_address logits",
        *["execute"] * WARMUP_ENQUEUES,
        "synchronize",
    ]
    timed = ["event", "to device", "event", "execute", "event", "to host", "event", "synchronize"]
    assert world.calls[1:] == prepared + timed


def test_times_are_split_by_events_and_include_both_copies():
    session = session_of(World("tensorrt-10.0"))
    (timing,) = session.time_split(batch(1), 1)
    # The double's clock advances by one at each of the four events.
    assert timing == (1.0, 1.0, 1.0)
    assert session.time_runs(batch(1), 3) == [3.0, 3.0, 3.0]
    assert session.time_parts(batch(1), 2) == {"to_device": [1.0] * 2, "compute": [1.0] * 2, "to_host": [1.0] * 2}
    assert session.includes_transfers


def test_buffers_are_made_once_for_a_shape():
    world = World("tensorrt-10.16")
    session = session_of(world)
    session.time_runs(batch(2), 5)
    session.run(batch(2))
    assert sum(call.startswith("allocate") for call in world.calls) == 2
    session.run(batch(3))
    assert sum(call.startswith("allocate") for call in world.calls) == 4


def test_a_batch_beyond_every_profile_is_split():
    world = World("tensorrt-11.4", profiles=((1, 4),))
    np.testing.assert_allclose(session_of(world).run(batch(10)), means(batch(10)), rtol=1e-5)
    assert [call for call in world.calls if call.startswith("set_input_shape")] == [
        "set_input_shape 4",
        "set_input_shape 2",
    ]


def test_a_batch_below_every_profile_is_padded():
    world = World("tensorrt-11.4", profiles=((4, 8),))
    got = session_of(world).run(batch(3))
    assert got.shape == (3, CLASSES)
    np.testing.assert_allclose(got, means(batch(3)), rtol=1e-5)
    assert "set_input_shape 4" in world.calls


def test_the_narrowest_profile_is_chosen():
    world = World("tensorrt-11.4", profiles=((1, 32), (8, 8)))
    session = session_of(world)
    session.run(batch(8))
    session.run(batch(8, seed=1))
    session.run(batch(3))
    chosen = [call for call in world.calls if call.startswith("set_optimization_profile_async")]
    assert chosen == ["set_optimization_profile_async 1", "set_optimization_profile_async 0"]


def test_an_input_on_the_device_is_not_copied():
    world = World("tensorrt-11.4")
    session = session_of(world)
    session.run(batch(2))
    address = world.device.device_buffer(batch(2).nbytes)[1]
    world.memory[address][:] = batch(2, seed=5).reshape(-1).view(np.uint8)
    before = world.calls.count("to device")
    got = session.run_on_device(address, (2, *SHAPE))
    assert world.calls.count("to device") == before
    np.testing.assert_allclose(got, means(batch(2, seed=5)), rtol=1e-5)
    # Afterwards the session reads its own buffer again.
    np.testing.assert_allclose(session.run(batch(2)), means(batch(2)), rtol=1e-5)


class Lying:
    """As much of a torch tensor as the session reads; real ones need a GPU."""

    def __init__(self, address: int, **changes) -> None:
        self.is_cuda = changes.get("is_cuda", True)
        self.dtype = changes.get("dtype", torch.float32)
        self.shape = (2, *SHAPE)
        self._address, self._contiguous = address, changes.get("contiguous", True)

    def is_contiguous(self) -> bool:
        return self._contiguous

    def data_ptr(self) -> int:
        return self._address


def test_a_tensor_of_torch_is_read_where_it_lies_once_torch_has_written_it(monkeypatch: pytest.MonkeyPatch):
    world = World("tensorrt-11.4")
    stream = SimpleNamespace(synchronize=lambda: world.note("torch synchronize"))
    monkeypatch.setattr("torch.cuda.current_stream", lambda: stream)
    session = session_of(world)
    session.run(batch(2))
    address = world.device.device_buffer(batch(2).nbytes)[1]
    world.memory[address][:] = batch(2, seed=5).reshape(-1).view(np.uint8)
    del world.calls[:]
    np.testing.assert_allclose(session.run_tensor(Lying(address)), means(batch(2, seed=5)), rtol=1e-5)
    assert world.calls[:3] == ["torch synchronize", "set_tensor_address input", "execute"]
    assert "to device" not in world.calls


@pytest.mark.parametrize(
    ("changes", "words", "fix"),
    [
        ({"is_cuda": False}, "is not on the GPU", ".cuda()"),
        ({"dtype": torch.float16}, "holds float16, not float32", ".to(torch.float32)"),
        ({"contiguous": False}, "is not contiguous", ".contiguous()"),
    ],
    ids=["host", "half", "strided"],
)
def test_a_tensor_that_the_engine_cannot_read_is_refused(changes, words: str, fix: str):
    world = World("tensorrt-11.4")
    with pytest.raises(StageError, match=words) as caught:
        session_of(world).run_tensor(Lying(0, **changes))
    assert fix in str(caught.value.fix)
    assert "execute" not in world.calls


def test_an_engine_with_an_fp16_input_reads_fp16_tensors(monkeypatch: pytest.MonkeyPatch):
    world = World("tensorrt-11.4")
    world.input_type = "HALF"
    with pytest.raises(StageError, match="holds float32, not float16"):
        session_of(world).run_tensor(Lying(0))


def test_a_cuda_graph_is_captured_after_the_warm_up_and_again_for_a_new_shape():
    world = World("tensorrt-11.4")
    session = session_of(world, cuda_graph=True)
    np.testing.assert_allclose(session.run(batch(2)), means(batch(2)), rtol=1e-5)
    session.run(batch(2))
    session.run(batch(3))
    captures = [index for index, call in enumerate(world.calls) if call == "capture"]
    assert len(captures) == 2
    assert world.calls[: captures[0]].count("execute") == WARMUP_ENQUEUES
    assert world.calls.count("replay") == 3


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ("set_input_shape", "refuses the input shape"),
        ("set_tensor_address", "refuses the address of `input`"),
        ("execute", "execute_async_v3 returned false"),
    ],
)
def test_a_call_that_fails_is_an_error(refused: str, words: str):
    world = World("tensorrt-11.4")
    world.refuses.add(refused)
    with pytest.raises(StageError, match=words):
        session_of(world).run(batch(1))


def test_after_a_refused_shape_everything_is_set_up_anew():
    world = World("tensorrt-11.4", profiles=((1, 4), (8, 8)))
    session = session_of(world)
    session.run(batch(2))
    world.refuses.add("set_input_shape")
    with pytest.raises(StageError, match="refuses the input shape"):
        session.run(batch(8))
    world.refuses.clear()
    del world.calls[:]
    np.testing.assert_allclose(session.run(batch(2)), means(batch(2)), rtol=1e-5)
    assert world.calls[:3] == ["set_optimization_profile_async 0", "synchronize", "set_input_shape 2"]


def test_after_a_failed_run_on_a_tensor_the_session_reads_its_own_buffer_again():
    world = World("tensorrt-11.4")
    session = session_of(world)
    session.run(batch(2))
    address = world.device.device_buffer(batch(2).nbytes)[1]
    world.refuses.add("execute")
    with pytest.raises(StageError, match="execute_async_v3 returned false"):
        session.run_on_device(address, (2, *SHAPE))
    world.refuses.clear()
    np.testing.assert_allclose(session.run(batch(2)), means(batch(2)), rtol=1e-5)


def test_an_engine_goes_with_the_last_name_of_its_session():
    """Not when Python next looks for cycles: until then it would keep its memory on the GPU."""
    session = session_of(World("tensorrt-11.4"))
    session.run(batch(1))
    context = weakref.ref(session._context)
    gc.disable()
    try:
        del session
        assert context() is None
    finally:
        gc.enable()


def test_the_device_is_closed_when_the_engine_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World("tensorrt-11.4")
    monkeypatch.setattr("harness.targets.tensorrt.session.open_device", lambda **_: world.device)
    (tmp_path / "e.engine").write_bytes(b"damaged")
    with pytest.raises(StageError, match="magicTag"):
        open_session(tmp_path / "e.engine", world.trt, TensorRtBuildOptions())
    assert world.calls == ["close"]


def test_all_engines_of_a_process_share_one_logger(tmp_path: Path):
    """TensorRT goes on using the first one, which must not be freed with the first engine."""
    world = World("tensorrt-11.4")
    (tmp_path / "e.engine").write_bytes(b"good")
    for _ in range(2):
        load_engine(tmp_path / "e.engine", world.trt)
    first, second = world.loggers
    assert first is second


def test_the_context_goes_before_the_device():
    world = World("tensorrt-11.4")
    session = session_of(world)
    session.run(batch(1))
    session.close()
    assert world.calls[-1] == "close"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"damaged", "magicTag")], ids=["empty", "damaged"])
def test_a_bad_engine_file_is_an_error(version: str, content: bytes, words: str, tmp_path: Path):
    (tmp_path / "e.engine").write_bytes(content)
    with pytest.raises(StageError, match=words):
        load_engine(tmp_path / "e.engine", World(version).trt)


def test_an_engine_for_another_gpu_is_refused_before_it_is_loaded(tmp_path: Path):
    (tmp_path / "e.engine").write_bytes(b"foreign")
    with pytest.raises(StageError, match="cannot run here: unsupported cc"):
        load_engine(tmp_path / "e.engine", World("tensorrt-rtx-1.7").trt)


def test_a_name_that_the_version_has_not_is_noticed_by_the_double():
    context = World("tensorrt-11.4").engine().create_execution_context()
    with pytest.raises(AttributeError, match="execute_async_v2"):
        context.execute_async_v2([])
