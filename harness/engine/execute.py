"""Running one task, in whatever process that happens."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, JsonValue

from harness.engine.context import StageContext
from harness.engine.graph import LoadsUserCode, Stage, Task, user_code_in
from harness.engine.outcomes import ArtifactDamaged, Done, Failed, Outcome, Reply
from harness.engine.process_tree import ends_in_copies
from harness.engine.store import PEAK, Store
from harness.errors import HarnessError, StageError, is_interrupt, message_of
from harness.machine.host_memory import PeakMemory

_TRACEBACK_CHARACTERS = 20_000


class Job(Protocol):
    """Something that a worker process runs; it is sent there by pickle."""

    @property
    def key(self) -> str:
        """Names the job in events and failures."""

    @property
    def label(self) -> str:
        """What to call it."""

    @property
    def threads(self) -> int:
        """Computing threads that it may use."""

    @property
    def timeout_s(self) -> float | None:
        """Longest time without a sign of progress; None for no limit."""

    def run(self, context: StageContext) -> Reply:
        """Run to the end."""


@dataclass(frozen=True)
class TaskRequest:
    """A task in a form that can be sent to another process; inputs are found in the store by key."""

    key: str
    label: str
    stage: Stage
    config: BaseModel
    inputs: Mapping[str, str]
    """Keys of the input artifacts."""
    store_root: Path
    threads: int
    refresh: bool = False
    """Run although the artifact exists, and replace it."""
    user_code: str | None = None
    """Which of the user's networks the stage may run; a worker that ran one never runs another."""
    timeout_s: float | None = None

    def run(self, context: StageContext) -> Outcome:
        """Run the stage."""
        return execute(self, context)


def make_order(
    task: Task,
    label: str,
    store: Store,
    *,
    threads: int,
    refresh: bool,
    user_code: str | None = None,
    timeout_s: float | None = None,
) -> TaskRequest:
    """The order to run `task`, whose inputs are in `store`."""
    inputs = {name: source.key for name, source in task.inputs.items()}
    root = store.root.absolute()  # user code may change the working directory of a worker
    return TaskRequest(task.key, label, task.stage, task.config, inputs, root, threads, refresh, user_code, timeout_s)


def execute(order: TaskRequest, context: StageContext) -> Outcome:
    """Run the stage, or find its artifact when another process made it meanwhile; every error becomes `Failed`."""
    try:
        return _execute(order, context)
    except BaseException as error:  # one variant's failure, whatever it is, must not stop the others
        if is_interrupt(error):
            raise
        return failure_from(error, label=order.label, key=order.key)


def failure_from(error: BaseException, *, label: str, key: str) -> Failed:
    """An exception as an outcome: our own errors speak for themselves, others bring their traceback."""
    kind = type(error).__name__
    message = message_of(error)
    if isinstance(error, HarnessError):
        return Failed(reason=message, label=label, root=key, kind=kind)
    return Failed(
        reason=f"{kind}: {message}" if message else kind,
        label=label,
        root=key,
        kind=kind,
        details=_traceback_of(error),
    )


def _traceback_of(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as broken:  # as above
        return f"(no traceback: {type(broken).__name__} while it was written)"
    return text[-_TRACEBACK_CHARACTERS:]


def _execute(order: TaskRequest, context: StageContext) -> Done:
    store = Store(order.store_root, on_damaged=lambda damaged: context.listener(ArtifactDamaged(damaged)))
    function = order.stage.load()
    context.scratch = store.scratch(order.key)
    inputs = {name: store.open(key) for name, key in order.inputs.items()}

    def make(folder: Path) -> Mapping[str, JsonValue]:
        memory = PeakMemory()
        context.working()
        with ends_in_copies():
            for part in user_code_in(order.config):
                if isinstance(part, LoadsUserCode):
                    part.load_user_code()
            result = function(order.config, inputs, folder, context)
        if not isinstance(result, BaseModel):
            raise StageError(f"{order.stage.function} returned {type(result).__name__} instead of a record")
        # Not `model_dump`, which leaves infinite figures that JSON does not have.
        return {PEAK: memory.read().peak_bytes, **json.loads(result.model_dump_json())}

    artifact, created = store.get_or_create(
        order.key,
        order.stage.name,
        make,
        replace=order.refresh,
        on_wait=lambda: context.waiting("waiting for another run that is making the same result"),
    )
    return Done(artifact, cached=not created)
