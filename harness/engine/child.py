"""Python processes that the harness starts: their environment, their log, how they are ended, and why they ended.

Each runs one function, given as `module:function`, on texts. It imports from where this process imports, and never the
script that runs here, as `multiprocessing` would. It leads a session and process group of its own, so that Ctrl-C
reaches its parent alone, and it ends, with what it started, when its parent is gone.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from harness.engine.process_tree import MARK_VARIABLE, end_own_group, kill_group, kill_marked
from harness.errors import HarnessError

OUTPUT_TAIL_BYTES = 16_384
MOST_LOG_BYTES = 16_777_216
TICK_S = 0.5
"""Between two looks at a process that says nothing."""
_PARENT_TICK_S = 1.0
_SHOWN_LINES = 3
_START = "import json, sys; s = json.loads(sys.stdin.readline()); sys.path[:] = s.pop('path'); " + (
    "from harness.engine.child import enter; enter(**s)"
)


class Child:
    """One process. It may print without end: its log is emptied when it has grown too long."""

    def __init__(
        self,
        function: str,
        arguments: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start `function`, as `module:function`, with `environment` added and open file `descriptors` kept."""
        self._log = log
        # A process that a worker starts carries the worker's mark before its own, and ends with either.
        self._mark = "/".join(filter(None, (os.environ.get(MARK_VARIABLE), uuid.uuid4().hex)))
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter
                [sys.executable, "-P", "-X", "faulthandler", "-c", _START],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {}), MARK_VARIABLE: self._mark},
                pass_fds=descriptors,
                start_new_session=True,
            )
        start = {
            "path": [str(folder) for folder in sys.path],
            "argv": sys.argv,
            "parent": os.getpid(),
            "function": function,
            "arguments": list(arguments),
            "reply": str(_reply_path(log)),
        }
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:  # broken: `wait` says how it ended
            pipe.write(json.dumps(start).encode() + b"\n")

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def exit_reason(self) -> str:
        """How the process ended, for the user."""
        return describe_exit(self._process.poll())

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, after `seconds` at most; None when the process still runs."""
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.bound_log()
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(min(left, TICK_S))
        return self._process.poll()

    def kill(self) -> None:
        """End the process, and all that it started, whatever they do; its log goes."""
        if self.alive:
            kill_group(self._process.pid)
        self._process.kill()
        self._process.wait()
        kill_marked(self._mark)
        self._log.unlink(missing_ok=True)

    def bound_log(self) -> None:
        """Empty a log that has grown too long: what is shown of it is its end."""
        with suppress(OSError):
            if self._log.stat().st_size > MOST_LOG_BYTES:
                os.truncate(self._log, 0)  # it is written in append mode, so that it goes on at the new end

    def output(self) -> str:
        """The end of what the process printed."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - OUTPUT_TAIL_BYTES))
                # Not to the end: a process that prints without end may still be writing.
                return file.read(OUTPUT_TAIL_BYTES).decode("utf-8", errors="replace")
        except OSError:
            return ""


class Ended(NamedTuple):
    """How a process ended that ran to its end."""

    exit_code: int | None
    """None: it did not end in time."""
    reply: str
    """What its function returned; empty where it returned nothing."""
    output: str

    @property
    def reason(self) -> str:
        """How it ended, and the last lines that it printed."""
        how = "it did not end in time" if self.exit_code is None else describe_exit(self.exit_code)
        return "; ".join([how, *self.output.strip().splitlines()[-_SHOWN_LINES:]])


def run_child(function: str, *arguments: str, timeout_s: float | None = None) -> Ended:
    """Run `function`, as `module:function`, in a process of its own, for `timeout_s` at most."""
    with tempfile.TemporaryDirectory(prefix="quant-harness-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log.txt"
        child = Child(function, arguments, log)
        try:
            code = child.wait(timeout_s)
            reply = _reply_path(log)
            return Ended(code, reply.read_text(encoding="utf-8") if reply.exists() else "", child.output())
        finally:
            child.kill()


def describe_exit(code: int | None) -> str:
    """How a process ended that should not have, for the user."""
    if code is None or code >= 0:
        return f"the process ended unexpectedly with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = " (most often: the system ran out of memory)" if name == "SIGKILL" else ""
    return f"crashed with signal {name}{hint}"


def enter(*, parent: int, argv: list[str], function: str, arguments: list[str], reply: str) -> None:
    """The inside of a child process: run the function, leave its reply."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone decides what becomes of its children
    threading.Thread(target=_end_with_parent, args=(parent, os.environ[MARK_VARIABLE]), daemon=True).start()
    sys.argv[:] = argv
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # so that a crash loses nothing
    module, _, name = function.partition(":")
    try:
        result: Any = getattr(importlib.import_module(module), name)(*arguments)
    except HarnessError as error:
        sys.exit(str(error))
    if isinstance(result, str):
        Path(reply).write_text(result, encoding="utf-8")


def _end_with_parent(parent: int, mark: str) -> None:
    """A process whose parent was killed must end, and so must everything that it started."""
    while os.getppid() == parent:
        time.sleep(_PARENT_TICK_S)
    kill_marked(mark)
    end_own_group()


def _reply_path(log: Path) -> Path:
    return log.with_suffix(".reply")
