"""What a stage's code does to its process stays there: it is ended in time, with all that it started."""

import os
import resource
import sys
import time
from pathlib import Path

import pytest
from oracles.example_stages import task

from harness.engine import isolation
from harness.engine.graph import Task
from harness.engine.local import LocalExecutor
from harness.engine.outcomes import CRASH, TIMEOUT, Done, Failed, Outcome, ignore
from harness.engine.schedule import TaskSchedule, make_plan
from harness.engine.store import Store
from harness.runs.prober import last_words

LIMIT_S = 3.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


def run(store: Store, item: Task, timeout_s: float | None = None) -> Outcome:
    return LocalExecutor(store, timeout_s=timeout_s).run([item])[item.key]


def is_running(pid: int) -> bool:
    try:
        return "Z" not in (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def ended(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_running, pids))


def test_a_stage_without_progress_is_ended(store: Store, journal: Path) -> None:
    failed = run(store, task("hang", journal), LIMIT_S)
    assert isinstance(failed, Failed)
    assert failed.kind == TIMEOUT
    assert "did not finish: it showed no progress for 3 s and was ended" in failed.reason
    assert "HARNESS_TIMEOUT_S" in failed.reason
    assert ended([int(journal.read_text().split()[1])])


@pytest.mark.slow
def test_progress_starts_the_limit_anew(store: Store, journal: Path) -> None:
    assert isinstance(run(store, task("works_slowly", journal, LIMIT_S), LIMIT_S), Done)


def test_waiting_for_another_process_does_not_count(store: Store, journal: Path) -> None:
    assert isinstance(run(store, task("waits_for_another", journal, LIMIT_S), LIMIT_S), Done)


@linux_only
@pytest.mark.parametrize("hangs", [0, 1])
def test_what_a_stage_started_ends_with_its_worker(store: Store, journal: Path, hangs: int) -> None:
    outcome = run(store, task("leaves_processes", journal, hangs), LIMIT_S)
    assert isinstance(outcome, Failed if hangs else Done)
    pids = [int(line) for line in journal.read_text().split()]
    assert len(pids) == 2
    assert ended(pids)


def test_a_copy_that_was_forked_writes_no_result(store: Store, journal: Path) -> None:
    outcome = run(store, task("forks_and_goes_on", journal))
    assert isinstance(outcome, Done)
    assert outcome.artifact.file("pid.txt").is_file()
    assert isinstance(run(store, task("add", journal, 1)), Done)


def test_an_exception_of_any_kind_is_a_failure(store: Store, journal: Path) -> None:
    failed = run(store, task("raises_a_base_exception", journal))
    assert isinstance(failed, Failed)
    assert failed.reason == "Odd: (its message cannot be shown: `__str__` raised KeyboardInterrupt)"


def test_messages_and_output_without_end_are_shortened(store: Store, journal: Path) -> None:
    failed = run(store, task("floods", journal))
    assert isinstance(failed, Failed)
    assert "(1,000,000 characters)" in failed.reason
    assert len(failed.reason) < 2_000
    assert len(failed.output) < 20_000


def test_a_process_that_closes_its_pipe_is_a_crash(store: Store, journal: Path) -> None:
    failed = run(store, task("closes_all_descriptors", journal))
    assert isinstance(failed, Failed)
    assert failed.kind == CRASH
    assert "closed its connection" in failed.reason


def test_a_message_that_never_ends_is_a_crash(store: Store, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MESSAGE_LIMIT_S", 1.0)
    failed = run(store, task("writes_into_every_pipe", journal))
    assert isinstance(failed, Failed)
    assert failed.kind == CRASH
    assert "wrote into it" in failed.reason


@pytest.mark.slow
def test_a_message_that_is_far_too_long_is_not_read(store: Store, journal: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failed = run(store, task("fills_every_pipe", journal))
    assert isinstance(failed, Failed)
    assert failed.kind == CRASH
    assert "wrote into it" in failed.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_the_place_of_a_crash_is_that_of_the_thread_that_crashed() -> None:
    dump = """Fatal Python error: Segmentation fault

Thread 0x1 (most recent call first):
  File "/usr/lib/python3.11/selectors.py", line 415 in select

Current thread 0x2 (most recent call first):
  File "/home/me/models/net.py", line 7 in forward
"""
    assert last_words(dump) == ' at File "/home/me/models/net.py", line 7 in forward'


def test_a_worker_of_one_network_is_not_given_another(store: Store, journal: Path, tmp_path: Path) -> None:
    from harness.engine.execute import TaskRequest
    from harness.engine.isolation import WorkerPool

    def order(name: str, code: str | None) -> TaskRequest:
        item = task("talk", journal, label=name, value=float(len(name)))
        return TaskRequest(item.key, name, item.stage, item.config, {}, store.root, 1, user_code=code)

    store.prepare()
    pool = WorkerPool(1, 1, ignore)
    pids = []
    try:
        for name, code in (("a", "one"), ("bb", "two"), ("ccc", "one"), ("dddd", None)):
            assert pool.has_worker_for(code) == (name == "ccc")
            pool.start(order(name, code))
            finished = pool.wait()
            while not finished:
                finished = pool.wait()
            outcome = finished[0].outcome
            assert isinstance(outcome, Done)
            pids.append(outcome.artifact.meta["pid"])
    finally:
        pool.close()
    assert pids[0] == pids[2]
    assert len(set(pids)) == 3


def test_the_schedule_goes_on_with_what_is_preferred(store: Store, journal: Path) -> None:
    tasks = [task("add", journal, value) for value in (1, 2, 3)]
    schedule = TaskSchedule(make_plan(tasks, store), ignore)
    assert schedule.next_task(4, lambda each: each is tasks[2]) is tasks[2]
    assert schedule.next_task(4, lambda each: each is None) in tasks[:2]


@linux_only
def test_workers_leave_the_process_group(store: Store, journal: Path) -> None:
    outcome = run(store, task("talk", journal))
    assert isinstance(outcome, Done)
    assert outcome.artifact.meta["pid"] != os.getpgrp()
