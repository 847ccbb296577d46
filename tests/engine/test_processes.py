"""Several runs at once, and runs that end early."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import psutil
import pytest
from oracles.example_stages import task

from harness.engine.store import Store

StartRun = Callable[..., "Popen[str]"]
PATIENCE_S = 30


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def remains(store: Store) -> list[Path]:
    return list((store.root / "v1" / "tmp").iterdir())


def remains_after_cleaning(store: Store) -> list[Path]:
    store.clean()
    return remains(store)


def test_two_runs_of_one_task_do_the_work_once(store: Store, journal: Path, start_run: StartRun) -> None:
    runs = [start_run(store.root, journal, "slow_add") for _ in range(2)]
    outputs = [run.communicate(timeout=PATIENCE_S)[0] for run in runs]
    assert outputs == ["Done\n", "Done\n"]
    assert journal.read_text() == "add\n"


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_run_that_is_stopped_keeps_what_it_finished(
    store: Store, journal: Path, start_run: StartRun, how: str
) -> None:
    run = start_run(store.root, journal, "add", "hang")
    wait_for(lambda: "hang" in journal.read_text())
    worker = int(journal.read_text().split()[-1])
    os.kill(run.pid, getattr(signal, how))
    errors = run.communicate(timeout=PATIENCE_S)[1]
    # Interrupted, it ends its worker; killed, the worker notices by itself.
    wait_for(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    assert store.get(task("add", journal).key) is not None
    assert store.get(task("hang", journal).key) is None
    if how == "SIGINT":
        assert "KeyboardInterrupt" in errors
        assert remains(store) == []
    else:  # the threads of a killed process may hold its lock for a moment longer than the process is there
        wait_for(lambda: not remains_after_cleaning(store))
