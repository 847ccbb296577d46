"""What one timing process is told, and how it is started."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.errors import StageError, describe_exit
from harness.timing.samples import Block, load_block
from harness.timing.settings import TimingPlan
from harness.timing.turns import TURN, last_turn

COMMAND = (sys.executable, "-m", "harness.timing.process")
_GRACE_S = 120.0
"""What opening the engines and the turns already begun may take beyond the time that the process was given."""
_TAIL_LINES = 3


class TimingFailed(StageError):
    """A timing process failed."""

    def __init__(self, message: str, *, session: str | None = None, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.session = session
        """Whose turn it was; None where that is not known."""


class EngineFile(BaseModel):
    """One session to open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    path: Path
    options: dict[str, Any]


class Call(BaseModel):
    """A function that a process calls before it opens engines, such as one that loads a target of the user's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str
    """`module:function`."""
    arguments: dict[str, str]

    def run(self) -> None:
        """Import the function and call it."""
        module, _, name = self.function.partition(":")
        getattr(importlib.import_module(module), name)(**self.arguments)


class Order(BaseModel):
    """Everything that a timing process needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: dict[str, EngineFile]
    before: tuple[Call, ...] = ()
    batch_shape: tuple[int, ...]
    plan: TimingPlan
    build: int
    process: int
    seed: int
    limit_s: float
    """Of the process, from its start."""


def run_process(order: Order, command: Sequence[str] | None = None) -> Block:
    """Time the sessions in a new process: its memory layout is one draw among many, and its crash costs only itself.

    Args:
        order: what to time.
        command: of the process, `COMMAND` when None; the path of its result is added to it.

    Raises:
        TimingFailed: the process failed; with the session whose turn it was, and the last lines that it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="quant-harness-timing-") as folder:
        result, log = Path(folder) / "block.npz", Path(folder) / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own module
                [*(command or COMMAND), str(result)], stdin=subprocess.PIPE, stdout=output, stderr=output
            )
            assert process.stdin is not None
            try:
                process.stdin.write(order.model_dump_json().encode() + b"\n")
                process.stdin.flush()
                # The pipe stays open: its end tells the process that this one is gone.
                code = process.wait(order.limit_s * len(order.sessions) + _GRACE_S)
            except BrokenPipeError:
                code = process.wait()
            except subprocess.TimeoutExpired:
                code = None
            finally:
                process.kill()
                process.wait()
        if code != 0:
            session = last_turn(Path(folder) / TURN, list(order.sessions))
            what = session or ", ".join(order.sessions)
            raise TimingFailed(f"timing {what}: {_what_happened(code, log)}", session=session)
        return load_block(result)


def _what_happened(code: int | None, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_TAIL_LINES:]
    how = "it did not end in time" if code is None else describe_exit(code)
    return "; ".join([how, *lines])
