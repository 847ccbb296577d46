"""The inside of a worker process: takes orders from a pipe, runs them, sends events and outcomes back.

Nothing heavy is imported here, so a worker starts quickly and the thread variables are set before any library
reads them.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.execution.context import StageContext
from harness.execution.execute import Order, execute, failure_from
from harness.execution.outcomes import Event, Outcome


def worker_main(connection: Connection[Any, Any], log_path: str) -> None:
    """Run orders until None comes or the other end is gone."""
    # Ctrl-C reaches the whole process group; the parent alone decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = _redirect_output(log_path)
    faulthandler.enable()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    sender = _Sender(connection)
    with suppress(EOFError):
        while (message := connection.recv()) is not None:
            os.ftruncate(log, 0)
            outcome = _run(message, sender)
            sys.stdout.flush()
            sys.stderr.flush()
            sender.send(outcome)


def _run(message: tuple[str, str, bytes], sender: _Sender) -> Outcome:
    key, label, payload = message
    try:
        order: Order = pickle.loads(payload)  # noqa: S301  # from our own parent, over a private pipe
    except Exception as error:  # whatever importing a configuration's module raises
        return failure_from(error, label=label, key=key)
    return execute(order, StageContext(key, order.threads, sender.send))


class _Sender:
    """Sends from any thread of the stage."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: Event | Outcome) -> None:
        with self._lock:
            self._connection.send(message)


def _redirect_output(path: str) -> int:
    """Send what Python and native libraries print to a file; its descriptor."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # so that a crash loses nothing
    return log


def _die_with_parent() -> None:
    """A worker whose parent was killed must not go on training for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
