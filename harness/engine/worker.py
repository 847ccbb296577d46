"""The inside of a worker process: takes jobs from a pipe, runs them, sends events and replies back.

Nothing heavy is imported here, so a worker starts quickly and the thread variables are set before any library
reads them. Jobs run code of the user's project, which may do anything to the process: whatever follows a job assumes
as little as possible.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from harness.engine.context import StageContext
from harness.engine.execute import Job, failure_from
from harness.engine.outcomes import Event, Reply


def worker_main(descriptor: str) -> None:
    """Run jobs that come through the pipe with this file descriptor, until None comes or the other end is gone."""
    os.set_inheritable(int(descriptor), False)
    connection: Connection[Any, Any] = Connection(int(descriptor))
    log = os.dup(sys.stdout.fileno())  # user code may close the stream
    sender = _Sender(connection)
    with suppress(EOFError, OSError):
        while (message := connection.recv()) is not None:
            with suppress(OSError):
                os.ftruncate(log, 0)
            reply = _run(message, sender)
            _flush()
            sender.send(reply)
    os._exit(0)  # threads and exit handlers of user code are not waited for


def _run(message: tuple[str, str, bytes], sender: _Sender) -> Reply:
    key, label, payload = message
    try:
        job: Job = pickle.loads(payload)  # noqa: S301  # from our own parent, over a private pipe
    except Exception as error:  # whatever importing a configuration's module raises
        return failure_from(error, label=label, key=key)
    context = StageContext(key, job.threads, sender.send, clock=sender.send)
    try:
        return job.run(context)
    except BaseException as error:  # SIGINT is ignored here: even KeyboardInterrupt was raised by user code
        return failure_from(error, label=label, key=key)


class _Sender:
    """Sends from any thread of the stage, and from no copy of the process."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._process = os.getpid()

    def send(self, message: Event | Reply) -> None:
        if os.getpid() != self._process:  # user code forked, and its child went on into our code
            os._exit(0)
        with self._lock:
            self._connection.send(message)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed or replaced by user code
            stream.flush()
