"""The devices' calls to pycuda, against a recording double of `pycuda.driver`; real ones are tested on a GPU."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from harness.errors import StageError
from harness.targets.tensorrt.devices import PyCudaDevice, open_device


class Driver(ModuleType):
    """`pycuda.driver`: what is called, in which order."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__("pycuda.driver")
        self.calls = calls
        context = SimpleNamespace(
            push=lambda: calls.append("push"), pop=lambda: calls.append("pop"), detach=lambda: calls.append("detach")
        )
        self.init = lambda: calls.append("init")
        self.Device = lambda index: SimpleNamespace(
            retain_primary_context=lambda: (calls.append(f"retain primary context of device {index}"), context)[1]
        )
        self.Stream = lambda: (calls.append("stream"), SimpleNamespace(handle=5, synchronize=self._wait))[1]
        self.Event = lambda: SimpleNamespace(record=self._record, time_till=lambda *_: 2.5)
        self.mem_alloc = lambda n_bytes: (calls.append(f"allocate {n_bytes}"), 0x1000)[1]
        self.pagelocked_empty = lambda shape, dtype: (calls.append("page-locked"), np.empty(shape, dtype))[1]

    def memcpy_htod_async(self, buffer, host, stream) -> None:
        self.calls.append(f"to device in stream {stream.handle}")

    def memcpy_dtoh_async(self, host, buffer, stream) -> None:
        self.calls.append(f"to host in stream {stream.handle}")

    def _record(self, stream) -> None:
        self.calls.append(f"event in stream {stream.handle}")

    def _wait(self) -> None:
        self.calls.append("synchronize")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    driver = Driver(calls)
    package = ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setattr("atexit.register", lambda function: calls.append(f"at exit: {function.__name__}"))
    return calls


def test_it_works_in_the_primary_context_that_torch_uses_and_on_a_stream_of_its_own(calls: list[str]):
    device = PyCudaDevice()
    assert calls == ["init", "retain primary context of device 0", "push", "stream", "at exit: close"]
    assert device.stream == 5


def test_everything_goes_to_that_stream(calls: list[str]):
    device = PyCudaDevice()
    del calls[:]
    host = device.host_buffer((4,), np.dtype(np.float32))
    buffer, address = device.device_buffer(host.nbytes)
    start, end = device.event(), device.event()
    device.record(start)
    device.copy_to_device(buffer, host)
    device.copy_to_host(host, buffer)
    device.record(end)
    device.synchronize()
    assert calls == [
        "page-locked",
        "allocate 16",  # 4 numbers of 4 bytes
        "event in stream 5",
        "to device in stream 5",
        "to host in stream 5",
        "event in stream 5",
        "synchronize",
    ]
    assert address == 0x1000
    assert device.elapsed_ms(start, end) == 2.5


def test_the_context_is_popped_before_it_is_given_back_and_only_once(calls: list[str]):
    device = PyCudaDevice()
    del calls[:]
    device.close()
    device.close()
    assert calls == ["pop", "detach"]


def test_an_empty_buffer_still_has_an_address(calls: list[str]):
    PyCudaDevice().device_buffer(0)
    assert calls[-1] == "allocate 1"


def test_it_has_no_graphs_and_says_what_has(calls: list[str]):
    with pytest.raises(StageError, match="no CUDA graphs") as caught:
        PyCudaDevice().capture(print)
    assert "torch" in str(caught.value.fix)


class TestChoice:
    @pytest.fixture(autouse=True)
    def no_cuda_in_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    @pytest.fixture
    def with_pycuda(self, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "pycuda" else None)

    def test_pycuda_where_it_is_installed(self, with_pycuda: None):
        assert isinstance(open_device(), PyCudaDevice)

    def test_a_graph_needs_torch(self, with_pycuda: None):
        with pytest.raises(StageError, match="no CUDA device that pycuda or torch can use"):
            open_device(cuda_graph=True)

    def test_a_pycuda_that_cannot_be_imported_is_told_where_torch_cannot_help(
        self, with_pycuda: None, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)  # importing it raises ImportError
        with pytest.raises(StageError, match="pycuda cannot be imported"):
            open_device()

    def test_torch_stands_in_for_a_pycuda_that_cannot_be_imported(
        self, with_pycuda: None, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.Stream", lambda: SimpleNamespace(cuda_stream=9))
        assert open_device().stream == 9
