"""The request to one timing process, and how the process is started."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.engine.child import run_child
from harness.errors import StageError
from harness.timing.samples import ProcessRounds, load_block
from harness.timing.settings import TimingPlan
from harness.timing.turns import TURN, last_turn

PROCESS = "harness.timing.process:main"
"""What a timing process runs."""
_GRACE_S = 120.0
"""What opening the engines and the turns already begun may take beyond the time that the process was given."""


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


class SetupCall(BaseModel):
    """A function that a process calls before it opens engines, such as one that loads a target of the user's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str
    """`module:function`."""
    arguments: dict[str, str]

    def run(self) -> None:
        """Import the function and call it."""
        module, _, name = self.function.partition(":")
        getattr(importlib.import_module(module), name)(**self.arguments)


class TimingRequest(BaseModel):
    """Everything that a timing process needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: dict[str, EngineFile]
    before: tuple[SetupCall, ...] = ()
    batch_shape: tuple[int, ...]
    plan: TimingPlan
    build: int
    process: int
    seed: int
    limit_s: float
    """Time limit of the process, from its start."""


def run_process(order: TimingRequest, process: str | None = None) -> ProcessRounds:
    """Time the sessions in a new process: its memory layout is one draw among many, and its crash costs only itself.

    Args:
        order: what to time.
        process: what it runs, as `module:function`; `PROCESS` when None.

    Raises:
        TimingFailed: the process failed; with the session whose turn it was, and the last lines that it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="quant-harness-timing-") as folder:
        result = Path(folder) / "block.npz"
        limit_s = order.limit_s * len(order.sessions) + _GRACE_S
        ended = run_child(process or PROCESS, order.model_dump_json(), str(result), timeout_s=limit_s)
        if ended.exit_code != 0:
            session = last_turn(Path(folder) / TURN, list(order.sessions))
            what = session or ", ".join(order.sessions)
            raise TimingFailed(f"timing {what}: {ended.reason}", session=session)
        return load_block(result)
