"""The user's network, built and tried once in a process of its own, before anything is planned with it.

Runs in workers only: the parent takes the record that comes back, and never imports a file of the user's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.tasks import Task
from harness.engine.context import StageContext
from harness.engine.outcomes import Answer, Failed
from harness.engine.process_tree import ends_in_copies
from harness.errors import ModelError
from harness.machine.hardware import stage_threads

if TYPE_CHECKING:
    from harness.quantization.capture.modules import Classes
    from harness.training.file_sums import Dependencies

PART_FACTORY, PART_WEIGHTS = "factory", "weights"


@dataclass(frozen=True)
class NetworkRequest:
    """What to build: the model's keys of the scenario, and what the data asks of the network."""

    factory: str
    args: Mapping[str, Any]
    root: Path
    seed: int
    input_shape: tuple[int, int, int] | None
    """None: the network is built, and not tried."""
    n_classes: int | None
    task: Task
    weights_path: Path | None
    weights_key: str | None = None


@dataclass(frozen=True)
class WeightsFacts:
    """What a weights file turned out to be."""

    sha256: str
    part: str | None
    note: str | None


@dataclass(frozen=True)
class NetworkFacts:
    """What planning needs to know of a network."""

    dependencies: Dependencies
    classes: Mapping[str, Classes]
    """Classes of every module by its dotted name."""
    weights: WeightsFacts | None


@dataclass(frozen=True)
class NetworkFault:
    """Why a network cannot be used."""

    part: str
    """Key of the model in the scenario that is at fault: `factory` or `weights`."""
    message: str
    fix: str | None


@dataclass(frozen=True)
class ProbeJob:
    """Build and try one network in a worker; answers with `NetworkFacts` or `NetworkFault`."""

    key: str
    label: str
    request: NetworkRequest
    timeout_s: float | None
    """For each step."""
    threads: int = 1

    def run(self, context: StageContext) -> Answer | Failed:
        """Build the network, load its weights, and describe it."""
        import torch

        torch.set_num_threads(stage_threads())  # as in the stages: first weights may depend on it
        with ends_in_copies():
            return Answer(probe(self.request, context.note))


def probe(request: NetworkRequest, on_step: Callable[[str], None]) -> NetworkFacts | NetworkFault:
    """Import, build and try the network; `on_step` is called with what comes next."""
    from harness.quantization.capture.modules import module_classes
    from harness.training.dependencies import dependencies_recorded
    from harness.training.factory import build_model

    part = PART_FACTORY
    try:
        on_step(f"reading `{request.factory}`")
        with dependencies_recorded(request.factory, request.root) as recording:
            model = build_model(
                request.factory,
                request.args,
                root=request.root,
                seed=request.seed,
                input_shape=request.input_shape,
                n_classes=request.n_classes,
                task=request.task,
                on_step=on_step,
            )
        dependencies = recording.dependencies(model)
        classes = module_classes(model)
        part = PART_WEIGHTS
        return NetworkFacts(dependencies, classes, _load_weights(model, request, on_step))
    except ModelError as error:
        return NetworkFault(part, error.message, error.fix)


def _load_weights(model: Any, request: NetworkRequest, on_step: Callable[[str], None]) -> WeightsFacts | None:
    from harness.training.weights import load_into

    path = request.weights_path
    if path is None:
        return None
    on_step(f"loading {path.name}")
    loaded = load_into(model, path, request.weights_key)
    with path.open("rb") as file:
        return WeightsFacts(hashlib.file_digest(file, "sha256").hexdigest(), loaded.part, loaded.note)
