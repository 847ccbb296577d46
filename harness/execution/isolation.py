"""Worker processes, as their parent sees them: a native crash costs the task that it happened in, nothing else.

Each worker is one process with one pipe. `concurrent.futures.ProcessPoolExecutor` breaks as a whole when a process
dies. A pool of one process for each worker would tell which task did it, but not the exit code, and progress would
need a second channel; `multiprocessing.connection.wait` needs less.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import describe_exit
from harness.execution.execute import Order
from harness.execution.outcomes import CRASH, Done, Failed, Listener, Outcome
from harness.execution.worker import worker_main
from harness.hardware import usable_cores

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CROWDED = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Where there are more threads than cores, one that waits must not keep a core busy."""
OUTPUT_TAIL_BYTES = 16_384
_STOP_TIMEOUT_S = 5.0
_SPAWN = multiprocessing.get_context("spawn")


class Finished(NamedTuple):
    """One task that a backend has finished."""

    key: str
    outcome: Outcome


class Worker:
    """One process that runs one order at a time."""

    def __init__(self, threads: int, log: Path, *, crowded: bool = False) -> None:
        self._log = log
        self._connection: Connection[Any, Any]
        self._connection, theirs = _SPAWN.Pipe()
        # Not daemonic: a stage may use processes of its own, such as data loader workers.
        self._process = _SPAWN.Process(target=worker_main, args=(theirs, str(log)), name="harness-worker")
        with _environment({name: str(threads) for name in THREAD_VARIABLES}):
            self._process.start()
        theirs.close()
        self._order: Order | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def waitables(self) -> tuple[Connection[Any, Any], int]:
        """What `multiprocessing.connection.wait` can wait for: a message, or the death of the process."""
        return self._connection, self._process.sentinel

    def submit(self, order: Order) -> None:
        """Start an order; the previous one must have finished."""
        self._order = order
        with suppress(BrokenPipeError):  # it just died: `poll` finds that out and says how
            self._connection.send((order.key, order.label, pickle.dumps(order)))

    def poll(self, listener: Listener) -> Outcome | None:
        """Pass on what the worker said so far; the outcome if it has finished or died."""
        alive = self.alive  # asked first: what it sent before it died is still read below
        try:
            while self._connection.poll():
                message = self._connection.recv()
                if isinstance(message, Done | Failed):
                    return self._with_output(message)
                listener(message)
        except (EOFError, OSError):
            alive = False
        return None if alive else self._crashed()

    def stop(self) -> None:
        """Let an idle worker end by itself; kill it if it does not."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(_STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End the process whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._log.unlink(missing_ok=True)

    def _with_output(self, outcome: Outcome) -> Outcome:
        return replace(outcome, output=_tail(self._log)) if isinstance(outcome, Failed) else outcome

    def _crashed(self) -> Failed:
        assert self._order is not None
        self._process.join(_STOP_TIMEOUT_S)
        return Failed(
            reason=describe_exit(self._process.exitcode),
            label=self._order.label,
            root=self._order.key,
            kind=CRASH,
            output=_tail(self._log),
        )


class WorkerPool:
    """Up to `jobs` tasks at once: in workers that are kept, or in a new process for stages that ask for one."""

    def __init__(self, jobs: int, threads: int, listener: Listener) -> None:
        self.capacity = jobs
        self._threads = threads
        self._listener = listener
        self._idle: list[Worker] = []
        self._busy: dict[str, tuple[Worker, Order]] = {}
        self._logs = tempfile.TemporaryDirectory(prefix="quant-harness-", ignore_cleanup_errors=True)
        self._number = itertools.count()

    def start(self, order: Order) -> None:
        """Start an order in a free worker, or in a new one."""
        worker = self._fresh(order) if order.stage.isolate else self._kept()
        self._busy[order.key] = (worker, order)
        worker.submit(order)

    def wait(self) -> list[Finished]:
        """Block until something happens; the tasks that finished."""
        wait([waitable for worker, _ in self._busy.values() for waitable in worker.waitables])
        finished = []
        for key, (worker, order) in list(self._busy.items()):
            if (outcome := worker.poll(self._listener)) is not None:
                finished.append(Finished(key, outcome))
                del self._busy[key]
                self._release(worker, order)
        return finished

    def close(self) -> None:
        """End all workers, those that are at work too."""
        for worker, _ in self._busy.values():
            worker.kill()
        for worker in self._idle:
            worker.stop()
        self._busy.clear()
        self._idle.clear()
        self._logs.cleanup()

    def _fresh(self, order: Order | None = None) -> Worker:
        alone = order is not None and order.stage.exclusive
        threads = self._threads if order is None else order.threads
        crowded = not alone and self.capacity * threads > usable_cores()
        return Worker(threads, Path(self._logs.name) / f"{next(self._number)}.log", crowded=crowded)

    def _kept(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            worker.kill()
        return self._fresh()

    def _release(self, worker: Worker, order: Order) -> None:
        if not worker.alive:
            worker.kill()
        elif order.stage.isolate:
            worker.stop()
        else:
            self._idle.append(worker)


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - OUTPUT_TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set already, for processes started inside the block."""
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
