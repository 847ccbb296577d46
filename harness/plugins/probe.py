"""A plug-in, loaded and tried once in a process of its own before anything is planned with it.

Runs in workers only: the parent takes the facts that come back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.settings import DatasetSpec
from harness.engine.context import StageContext
from harness.engine.outcomes import Answer, Failed
from harness.engine.process_tree import ends_in_copies
from harness.errors import HarnessError, is_interrupt
from harness.plugin_names import Kind, parse_file_name
from harness.plugins.code import PluginCode, distribution_of, entry_point, load_plugin
from harness.plugins.contract import PluginError
from harness.registry import plug
from harness.results import Variant
from harness.training.model_files import described


@dataclass(frozen=True)
class PluginRequest:
    """What to load, and what planning will ask of it."""

    kind: Kind
    name: str
    root: Path
    seed: int = 0
    data: tuple[DatasetSpec, ...] = ()
    """To read with a data source."""
    download: bool = False
    variants: tuple[Variant, ...] = ()
    """That a target or toolkit is to make."""


@dataclass(frozen=True)
class PluginFacts:
    """What planning needs to know of a plug-in."""

    code: PluginCode
    own_name: str
    """Its attribute `name`; of a training loop, the name in the scenario."""
    package: str | None = None
    """Top-level module that its class is defined in; None for one of the harness's own classes."""
    changes_weights: bool = False
    """Whether a PTQ step works before calibration, without data."""


@dataclass(frozen=True)
class PluginFault:
    """Why a plug-in cannot be used."""

    message: str
    fix: str | None
    is_incomplete: bool = False
    """It was imported and lacks something: what other code has done to the process cannot be the reason."""


@dataclass(frozen=True)
class PluginJob:
    """Load and try one plug-in in a worker; answers with `PluginFacts` or `PluginFault`."""

    key: str
    label: str
    request: PluginRequest
    timeout_s: float | None
    """For each step."""
    threads: int = 1

    def run(self, context: StageContext) -> Answer | Failed:
        """Load the plug-in, check it, and try what planning will call."""
        with ends_in_copies():
            return Answer(probe(self.request, context.note))


def probe(request: PluginRequest, on_step: Callable[[str], None]) -> PluginFacts | PluginFault:
    """The facts about a plug-in, or why it cannot be used; `on_step` is called with what comes next."""
    from harness.training.dependencies import dependencies_recorded  # imports torch

    kind, name = request.kind, request.name
    try:
        on_step(f"importing `{name}`")
        text, owner = name, None
        if parse_file_name(name) is None:
            point = entry_point(kind, name)
            text, owner = point.value, f"{distribution_of(point)}: {point.value}"
        with dependencies_recorded(text.partition("[")[0].strip(), request.root) as recording:
            member = load_plugin(kind, name, request.root)
        found = recording.dependencies()
        code = PluginCode(
            kind=kind, name=name, sha256=found.sha256, distribution=owner, files=found.files, root=request.root
        )
        plug(kind, name, member)
        on_step(f"trying `{name}`")
        _try(member, request)
        return _facts(member, code)
    except HarnessError as error:
        return PluginFault(error.message, error.fix, is_incomplete=isinstance(error, PluginError))
    except BaseException as error:  # what the plug-in does when it is asked
        if is_interrupt(error):
            raise
        return PluginFault(f"`{name}` failed: {described(error)}", "correct the plug-in")


def _try(member: Any, request: PluginRequest) -> None:
    """What planning will call in the parent, so that a crash or an endless loop there shows here."""
    for spec in request.data:
        from harness.data.load import load_splits

        load_splits(spec, root=request.root, seed=request.seed, download=request.download)
    if request.kind in ("target", "toolkit"):
        member.availability()
        for variant in request.variants:
            member.refusal(variant)
    if request.kind == "target":
        member.placement()
        for variant in request.variants:
            member.is_deployable(variant)


def _facts(member: Any, code: PluginCode) -> PluginFacts:
    if code.kind == "training loop":
        return PluginFacts(code, code.name)
    top = type(member).__module__.partition(".")[0]
    package = None if top == "harness" else top
    if code.kind == "PTQ step":
        from harness.quantization.ptq.base import WeightStep

        return PluginFacts(code, member.name, package, changes_weights=isinstance(member, WeightStep))
    return PluginFacts(code, member.name, package)
