"""The inside of a worker process: takes jobs from a pipe, runs them, sends events and replies back.

Nothing heavy is imported here, so a worker starts quickly and the thread variables are set before any library
reads them. Jobs run code of the user's project, which may do anything to the process: whatever follows a job assumes
as little as possible.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.engine.context import StageContext
from harness.engine.execute import Job, failure_from
from harness.engine.outcomes import Event, Reply
from harness.engine.process_tree import MARK_VARIABLE, end_own_group, kill_marked, lead_own_group

_LOOK_S = 2.0
"""Between two looks at the parent's process id, which tells that it is gone even when its pipe was closed."""

_GONE_S = 0.1


def worker_main(connection: Connection[Any, Any], log_path: str) -> None:
    """Run jobs until None comes or the other end is gone."""
    # Ctrl-C is for the parent, which alone decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lead_own_group()
    log = _redirect_streams(log_path)
    faulthandler.enable()
    mark = os.environ.get(MARK_VARIABLE, "")
    threading.Thread(target=_die_with_parent, args=(os.getppid(), mark), daemon=True).start()
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


def _redirect_streams(path: str) -> int:
    """Send what Python and native libraries print to a file, and give them nothing to read; the file's descriptor."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # so that a crash loses nothing
    return log


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed or replaced by user code
            stream.flush()


def _die_with_parent(parent: int, mark: str) -> None:
    """A worker whose parent was killed must not go on training for nobody, and neither must its children."""
    process = multiprocessing.parent_process()
    while process is not None and os.getppid() == parent:
        try:
            if wait([process.sentinel], timeout=_LOOK_S):
                time.sleep(_GONE_S)  # either the parent ends, or user code closed the pipe
        except (OSError, ValueError):  # user code closed the pipe
            time.sleep(_LOOK_S)
    if mark:
        kill_marked(mark)
    end_own_group()
