"""Processes of the harness: what they are given, what is kept of them, and that nothing of them is left."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.engine.child import MOST_LOG_BYTES, OUTPUT_TAIL_BYTES, Child, describe_exit, run_child


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids(path: Path) -> list[int]:
    wait_for(lambda: path.exists() and len(path.read_text().split()) == 2)
    return [int(pid) for pid in path.read_text().split()]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-signal.SIGSEGV, "crashed with signal SIGSEGV"),
        (-signal.SIGKILL, "crashed with signal SIGKILL (most often: the system ran out of memory)"),
        (-250, "crashed with signal 250"),
        (0, "the process ended unexpectedly with exit code 0"),
        (3, "the process ended unexpectedly with exit code 3"),
    ],
)
def test_how_a_process_ended(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_a_function_gets_its_texts_and_its_reply_comes_back() -> None:
    ended = run_child("oracles.children:describe", "ä\n", "")
    assert ended.exit_code == 0
    found = json.loads(ended.reply)
    assert found["arguments"] == ["ä\n", ""]
    assert found["path"] == sys.path
    assert found["leads"]


def test_it_can_read_nothing_and_runs_no_script_of_the_users() -> None:
    found = json.loads(run_child("oracles.children:describe").reply)
    assert (found["stdin"], found["main"]) == ("", None)


def test_a_crash_is_told_with_its_signal_and_where_python_was() -> None:
    ended = run_child("oracles.children:abort")
    assert ended.exit_code == -signal.SIGABRT
    assert ended.reason.startswith("crashed with signal SIGABRT")
    assert 'children.py", line' in ended.output and "in abort" in ended.output


def test_an_error_of_the_harness_is_told_without_a_traceback() -> None:
    ended = run_child("oracles.children:refuse")
    assert ended.exit_code == 1
    assert ended.output == "no such kernel\n  fix: take another\n"


def test_one_that_does_not_end_in_time_is_ended(tmp_path: Path) -> None:
    ended = run_child("oracles.children:hang", str(tmp_path / "pids"), timeout_s=1.0)
    assert (ended.exit_code, ended.reason) == (None, "it did not end in time")


def test_of_much_output_the_end_is_kept(tmp_path: Path) -> None:
    child = Child("oracles.children:print_much", [str(2 * MOST_LOG_BYTES)], tmp_path / "log")
    try:
        assert child.wait() == 0
        child.bound_log()
        assert (tmp_path / "log").stat().st_size <= MOST_LOG_BYTES
        assert len(child.output()) <= OUTPUT_TAIL_BYTES
    finally:
        child.kill()
    assert not (tmp_path / "log").exists()


def test_a_killed_process_takes_the_children_of_its_children_along(tmp_path: Path) -> None:
    child = Child("oracles.children:start_hanging", [str(tmp_path / "pids")], tmp_path / "log")
    inner = pids(tmp_path / "pids")
    child.kill()
    for pid in inner:
        wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


def test_a_process_whose_parent_is_gone_ends_with_all_that_it_started(tmp_path: Path) -> None:
    child = Child("oracles.children:start_hanging", [str(tmp_path / "pids")], tmp_path / "log")
    try:
        inner = pids(tmp_path / "pids")
        os.kill(psutil.Process(inner[0]).ppid(), signal.SIGKILL)  # the parent of `hang`, which cannot react
        for pid in inner:
            wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
    finally:
        child.kill()
