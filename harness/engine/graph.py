"""Stages and tasks: what is to be computed from what, and the key under which the result is stored.

A stage is a pure function of a typed configuration and input artifacts. This module imports no stage: functions
are named as `module:function`, so that another process can run them and the command line stays quick.
"""

from __future__ import annotations

import importlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel

from harness.engine.context import StageContext
from harness.engine.keys import digest
from harness.engine.source_closure import closure
from harness.engine.store import Artifact
from harness.errors import StageError
from harness.machine.hardware import stage_threads
from harness.machine.installed import library_version, module_version

Inputs: TypeAlias = Mapping[str, Artifact]
StageFunction: TypeAlias = Callable[[Any, Inputs, Path, StageContext], BaseModel]
"""`function(config, inputs, folder, context) -> result`: writes files into `folder`, returns a record of the rest."""


@dataclass(frozen=True)
class Stage:
    """One kind of work."""

    name: str
    version: int
    """To be raised when results change for a reason that neither source nor libraries show."""
    function: str
    """`module:function` of a `StageFunction` at the top level of an importable module."""
    libraries: tuple[str, ...] = ()
    """Distributions whose version can change the result, beside those of what its source imports."""
    isolate: bool = False
    """Run in a process of its own instead of a shared worker."""
    exclusive: bool = False
    """Run nothing else of this run meanwhile (measurements)."""

    def load(self) -> StageFunction:
        """Import the function; StageError when it is not there."""
        module, _, name = self.function.partition(":")
        function = getattr(importlib.import_module(module), name, None)
        if not callable(function):
            raise StageError(f"stage `{self.name}`: there is no function {self.function}")
        loaded: StageFunction = function
        return loaded


@dataclass(frozen=True, eq=False)
class Task:
    """One stage applied to one configuration and the results of other tasks.

    A task is made from finished tasks and never changes, so a graph of tasks has no cycles.
    """

    stage: Stage
    config: BaseModel
    inputs: Mapping[str, Task] = field(default_factory=dict)
    label: str = ""
    """What the progress display and error messages call it; the stage's name when empty."""
    requires: tuple[str, ...] = ()
    """Names of resources, such as the target; a cluster uses them to choose a machine."""

    def __post_init__(self) -> None:
        if not self.config.model_config.get("frozen"):
            raise TypeError(f"the configuration of a task must be a frozen model: {type(self.config).__name__}")
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))
        object.__setattr__(self, "label", self.label or self.stage.name)

    @cached_property
    def key(self) -> str:
        """sha256 over everything that can change the result; `label` and `requires` cannot."""
        stage = self.stage
        source = closure(stage.function)
        return digest(
            {
                "stage": stage.name,
                "version": stage.version,
                "function": stage.function,
                "config": self.config,
                "inputs": {name: task.key for name, task in self.inputs.items()},
                "libraries": {name: library_version(name) for name in stage.libraries},
                "modules": {name: module_version(name) for name in source.libraries},
                "source": source.sha256,
                "threads": None if stage.exclusive else stage_threads(),
            }
        )


@runtime_checkable
class RunsUserCode(Protocol):
    """A part of a configuration that names code of the user's which the stage imports."""

    @property
    def user_code(self) -> str:
        """Equal for equal code."""


@runtime_checkable
class LoadsUserCode(RunsUserCode, Protocol):
    """A part of a configuration that must be loaded before the stage runs."""

    def load_user_code(self) -> None:
        """Make it ready in this process."""


def user_code(task: Task) -> str | None:
    """Names the user's code that a task, or one that it depends on, runs or was made from; None without any."""
    codes: set[str] = set()
    seen: set[int] = set()
    waiting = [task]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            codes.update(part.user_code for part in user_code_in(current.config))
            waiting += current.inputs.values()
    return "; ".join(sorted(codes)) or None


def user_code_in(value: object) -> Iterator[RunsUserCode]:
    """The parts of a configuration that name code of the user's, in the order of its fields."""
    if isinstance(value, RunsUserCode):
        yield value
    if isinstance(value, BaseModel):
        value = tuple(getattr(value, name) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for each in value:
            yield from user_code_in(each)


def topological(tasks: Iterable[Task]) -> list[Task]:
    """All tasks and their inputs, inputs first, one for each key."""
    unique: dict[str, Task] = {}
    queue = deque(tasks)
    while queue:
        task = queue.popleft()
        if task.key not in unique:
            unique[task.key] = task
            queue.extend(task.inputs.values())
    edges = {key: [source.key for source in task.inputs.values()] for key, task in unique.items()}
    return [unique[key] for key in TopologicalSorter(edges).static_order()]


def unique_labels(tasks: Iterable[Task]) -> dict[str, str]:
    """Label of each key; tasks that differ but share a label get the start of their key added."""
    labels = {task.key: task.label for task in tasks}
    count = Counter(labels.values())
    return {key: label if count[label] == 1 else f"{label} [{key[:6]}]" for key, label in labels.items()}
