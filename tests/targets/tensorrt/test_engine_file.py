"""An engine file is held against its record, the library and the GPU before anything of CUDA is touched."""

from pathlib import Path

import pytest

from harness.errors import StageError
from harness.targets import get_target
from harness.targets.engine_record import EngineRecord, sha256
from harness.targets.tensorrt.engine_file import check_engine_file
from harness.targets.tensorrt.gpu import TensorRtGpu
from harness.targets.tensorrt.options import TensorRtBuildOptions

A10 = TensorRtGpu("A10", "SM86")
LIBRARY = "tensorrt_rtx 1.7.1.116"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "m.engine"
    path.write_bytes(b"a plan")
    record = EngineRecord(builder=LIBRARY, compute_capability="SM86", sha256=sha256(path), engine_layers=())
    record.save(path)
    return path


def message(path: Path, library: str = LIBRARY, gpu: TensorRtGpu | None = A10) -> str:
    with pytest.raises(StageError) as caught:
        check_engine_file(path, library, gpu)
    assert caught.value.fix
    return caught.value.message


def test_what_was_built_for_this_machine_passes(engine: Path):
    check_engine_file(engine, LIBRARY, A10)


def test_a_damaged_file(engine: Path):
    engine.write_bytes(b"a plam")
    assert message(engine) == "m.engine is not the file that was built: its checksum differs"


def test_another_version(engine: Path):
    newer = "tensorrt_rtx 1.8.0"
    assert message(engine, newer) == f"m.engine was built by {LIBRARY}, and {newer} is installed"
    check_engine_file(engine, newer, A10, any_version=True)


def test_another_gpu(engine: Path):
    assert message(engine, gpu=TensorRtGpu("L4", "SM89")) == "m.engine was built for SM86; here is a SM89"


def test_no_gpu(engine: Path):
    assert "there is no NVIDIA GPU here to run m.engine on" in message(engine, gpu=None)


def test_without_a_record_tensorrt_itself_decides(tmp_path: Path):
    (tmp_path / "other.engine").write_bytes(b"from trtexec")
    check_engine_file(tmp_path / "other.engine", LIBRARY, A10)


def test_a_target_checks_before_it_opens(engine: Path, monkeypatch: pytest.MonkeyPatch):
    target = get_target("tensorrt-rtx")
    if not target.availability().usable:
        pytest.skip(target.availability().detail)
    monkeypatch.setattr("harness.targets.tensorrt.target.find_gpu", lambda: TensorRtGpu("L4", "SM89"))
    with pytest.raises(StageError, match=r"was built (by|for)"):
        target.open(engine, TensorRtBuildOptions())
