import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engine.lock import measuring, measuring_lock_path
from harness.errors import UsageError

WAITER = """
import sys
from pathlib import Path
from harness.engine.lock import measuring

def on_wait(holder):
    print("waiting for", holder, flush=True)

with measuring(on_wait, path=Path(sys.argv[1])):
    print("holding", flush=True)
"""


def start_waiter(path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", WAITER, str(path)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measuring.lock"


def test_a_second_process_waits_and_says_for_whom(path: Path) -> None:
    with measuring(what="resnet8", path=path):
        other = start_waiter(path)
        assert other.stdout is not None
        assert other.stdout.readline() == f"waiting for process {os.getpid()} (resnet8)\n"
    assert other.communicate(timeout=30)[0] == "holding\n"


def test_a_free_lock_is_taken_at_once(path: Path) -> None:
    with measuring(path=path):
        pass
    assert start_waiter(path).communicate(timeout=30)[0] == "holding\n"


def test_it_is_free_again_after_an_error(path: Path) -> None:
    with pytest.raises(RuntimeError), measuring(path=path):
        raise RuntimeError
    assert start_waiter(path).communicate(timeout=30)[0] == "holding\n"


def test_every_user_may_take_it(path: Path) -> None:
    with measuring(path=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_an_impossible_place_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="HARNESS_MEASURING_LOCK"), measuring(path=tmp_path / "file" / "lock"):
        pass


def test_place_is_the_machines_and_not_the_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_MEASURING_LOCK", raising=False)
    before = measuring_lock_path()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert measuring_lock_path() == before
    monkeypatch.setenv("HARNESS_MEASURING_LOCK", str(tmp_path / "shared.lock"))
    assert measuring_lock_path() == tmp_path / "shared.lock"
