"""Worker processes, as their parent sees them: a native crash costs the task that it happened in, nothing else.

Each worker is one process with one pipe. `concurrent.futures.ProcessPoolExecutor` breaks as a whole when a process
dies. A pool of one process for each worker would tell which task did it, but not the exit code, and progress would
need a second channel; `multiprocessing.connection.wait` needs less.
"""

from __future__ import annotations

import itertools
import os
import pickle
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from harness.engine.child import TICK_S, Child
from harness.engine.execute import Job, TaskRequest
from harness.engine.outcomes import (
    CRASH,
    TIMEOUT,
    Answer,
    Done,
    Failed,
    Listener,
    Outcome,
    Reply,
    TaskWaits,
    TaskWorks,
)
from harness.machine.hardware import usable_cores

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CROWDED = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Where there are more threads than cores, one that waits must not keep a core busy."""
MESSAGE_LIMIT_S = 20.0
MESSAGE_LIMIT_BYTES = 268_435_456
"""For a message that a worker has begun to send: user code can write into the pipe what never becomes one."""
START_LIMIT_S = 300.0
"""For a worker to import what a job needs, before the job's own limit begins."""
MOST_IDLE = 4
"""Workers that are kept for the networks they ran; each holds torch in memory."""
TIMEOUT_FIX = "if it only needs longer, raise `timeouts` in the scenario, or set HARNESS_TIMEOUT_S"
_STOP_TIMEOUT_S = 5.0


class Finished(NamedTuple):
    """One task that a backend has finished."""

    key: str
    outcome: Outcome


class Worker:
    """One process that runs one job at a time."""

    def __init__(self, threads: int, log: Path, *, crowded: bool = False) -> None:
        environment = {name: os.environ.get(name, str(threads)) for name in THREAD_VARIABLES}
        self._connection: Connection[Any, Any]
        self._connection, theirs = Pipe()
        with theirs:
            self._child = Child(
                "harness.engine.worker:worker_main",
                [str(theirs.fileno())],
                log,
                environment=environment | (_CROWDED if crowded else {}),
                descriptors=[theirs.fileno()],
            )
        self._job: Job | None = None
        self._last_sign: float | None = None
        """When the job last showed progress, on the monotonic clock; None while it waits for another process."""
        self._has_begun = False
        """Whether the job has shown any: importing our own libraries is not the user's time."""
        self.user_code: str | None = None
        """The network of the user's that it may have run, whose code may have changed anything in the process."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.alive

    @property
    def connection(self) -> Connection[Any, Any]:
        """What `multiprocessing.connection.wait` can wait for: a message, or the end of the process."""
        return self._connection

    def submit(self, job: Job) -> None:
        """Start a job; the previous one must have finished."""
        self._job = job
        self._last_sign, self._has_begun = time.monotonic(), False
        with suppress(BrokenPipeError):  # it just died: `poll` finds that out and says how
            self._connection.send((job.key, job.label, pickle.dumps(job)))

    def poll(self, listener: Listener) -> Reply | None:
        """Forward the worker's messages; return its reply once it has finished, died or shown no progress too long."""
        alive = self.alive  # asked first: what it sent before it died is still read below
        self._child.bound_log()
        try:
            while self._connection.poll():
                message = self._received()
                if isinstance(message, Done | Failed | Answer):
                    return self._with_output(message)
                self._has_begun = True
                self._last_sign = None if isinstance(message, TaskWaits) else time.monotonic()
                if not isinstance(message, TaskWaits | TaskWorks):
                    listener(message)
        except Exception:  # the pipe ended, or user code wrote something else into it
            alive = False
        if not alive:
            return self._crashed()
        return self._timed_out() if self._is_overdue() else None

    def _received(self) -> Any:
        """The message that has begun to arrive; TimeoutError when it does not end, and what else unpickling raises."""
        result: Future[Any] = Future()

        def receive() -> None:
            try:
                result.set_result(pickle.loads(self._connection.recv_bytes(MESSAGE_LIMIT_BYTES)))  # noqa: S301
            except BaseException as error:  # goes to the caller
                result.set_exception(error)

        threading.Thread(target=receive, daemon=True).start()  # ends with the worker at the latest
        return result.result(timeout=MESSAGE_LIMIT_S)

    def result(self, listener: Listener) -> Reply:
        """Wait for the reply to the job."""
        while (reply := self.poll(listener)) is None:
            wait([self._connection], timeout=TICK_S)
        return reply

    def stop(self) -> None:
        """Let an idle worker end by itself; kill it if it does not."""
        with suppress(OSError):
            self._connection.send(None)
        self._child.wait(_STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End the process, and all that it started, whatever they do."""
        self._child.kill()
        self._connection.close()

    def _with_output(self, reply: Reply) -> Reply:
        return replace(reply, output=self._child.output()) if isinstance(reply, Failed) else reply

    def _is_overdue(self) -> bool:
        if self._job is None or self._job.timeout_s is None or self._last_sign is None:
            return False
        limit = self._job.timeout_s if self._has_begun else max(self._job.timeout_s, START_LIMIT_S)
        return time.monotonic() - self._last_sign > limit

    def _timed_out(self) -> Failed:
        assert self._job is not None and self._job.timeout_s is not None
        reason = f"did not finish: it showed no progress for {self._job.timeout_s:g} s and was ended"
        return self._failed(f"{reason}\n  fix: {TIMEOUT_FIX}", TIMEOUT)

    def _crashed(self) -> Failed:
        if self._child.wait(_STOP_TIMEOUT_S) is None:
            return self._failed("closed its connection to the harness or wrote into it, which it must not touch", CRASH)
        return self._failed(self._child.exit_reason, CRASH)

    def _failed(self, reason: str, kind: str) -> Failed:
        assert self._job is not None
        return Failed(reason=reason, label=self._job.label, root=self._job.key, kind=kind, output=self._child.output())


class WorkerPool:
    """Up to `jobs` tasks at once: in workers that are kept, or in a new process for stages that ask for one.

    A worker that has run one of the user's networks is kept for that network: what its code changes in the process,
    from torch's functions to the working directory, must not reach the rows of another.
    """

    def __init__(self, jobs: int, threads: int, listener: Listener) -> None:
        self.capacity = jobs
        self._threads = threads
        self._listener = listener
        self._idle: list[Worker] = []
        self._busy: dict[str, tuple[Worker, TaskRequest]] = {}
        self._logs = tempfile.TemporaryDirectory(prefix="quant-harness-", ignore_cleanup_errors=True)
        self._number = itertools.count()

    def has_worker_for(self, code: str | None) -> bool:
        """Whether an idle worker has run this network of the user's before."""
        return any(worker.user_code == code for worker in self._idle)

    def start(self, order: TaskRequest) -> None:
        """Start an order in a free worker, or in a new one."""
        worker = self._fresh(order) if order.stage.isolate else self._kept(order.user_code)
        worker.user_code = order.user_code
        self._busy[order.key] = (worker, order)
        worker.submit(order)

    def wait(self) -> list[Finished]:
        """Block until something happens, or for a moment; the tasks that finished."""
        wait([worker.connection for worker, _ in self._busy.values()], timeout=TICK_S)
        finished = []
        for key, (worker, order) in list(self._busy.items()):
            reply = worker.poll(self._listener)
            if isinstance(reply, Done | Failed):
                finished.append(Finished(key, reply))
                del self._busy[key]
                self._release(worker, order, reply)
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

    def _fresh(self, order: TaskRequest | None = None) -> Worker:
        alone = order is not None and order.stage.exclusive
        threads = self._threads if order is None else order.threads
        crowded = not alone and self.capacity * threads > usable_cores()
        return Worker(threads, Path(self._logs.name) / f"{next(self._number)}.log", crowded=crowded)

    def _kept(self, user_code: str | None) -> Worker:
        """An idle worker that has run this network before, or none at all; else a new one."""
        for worker in sorted(self._idle, key=lambda each: each.user_code is None):
            if not worker.alive:
                self._idle.remove(worker)
                worker.kill()
            elif worker.user_code in (None, user_code):
                self._idle.remove(worker)
                return worker
        while len(self._idle) >= max(self.capacity, MOST_IDLE):
            self._idle.pop(0).stop()
        return self._fresh()

    def _release(self, worker: Worker, order: TaskRequest, outcome: Outcome) -> None:
        if not worker.alive or (isinstance(outcome, Failed) and outcome.kind in (CRASH, TIMEOUT)):
            worker.kill()
        elif order.stage.isolate:
            worker.stop()
        else:
            self._idle.append(worker)
