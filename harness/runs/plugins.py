"""The plug-ins of a scenario as planning sees them: loaded and tried in a process of their own before anything else.

Errors stand at the plug-in's place in the scenario, a crash or an endless loop of its file too.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.data.settings import DatasetSpec
from harness.errors import HarnessError, ScenarioError, is_interrupt
from harness.load.scenarios import get_load_scenario
from harness.plugin_names import Kind, entry_points
from harness.plugins.code import PluginCode, distribution_of, loaded
from harness.plugins.probe import PluginFacts, PluginFault, PluginJob, PluginRequest
from harness.registry import plugged_in
from harness.results import Variant
from harness.runs.prober import ProbeFailed, Prober
from harness.runs.timeouts import network_timeout_s
from harness.scenario import Scenario, expand
from harness.scenario.plugin_sections import with_load_settings, with_target_options
from harness.scenario.plugin_uses import PluginUse, built_in_names, named_plugins, plugin_uses
from harness.scenario.source import ScenarioSource, joined
from harness.targets import get_target
from harness.training.model_files import described

_CALLED_HERE: frozenset[Kind] = frozenset(("data source", "toolkit", "load scenario", "target"))
"""Kinds that planning asks in this process; others are loaded by the processes that run them alone."""
_BOUNDARY_FIX = "the file must be importable, and the plug-in answer, without ending or blocking the process"


@dataclass(frozen=True)
class Plugins:
    """Every plug-in of a scenario, by its kind and its name there."""

    facts: Mapping[tuple[Kind, str], PluginFacts] = field(default_factory=dict)
    uses: tuple[PluginUse, ...] = ()
    source: ScenarioSource = field(default_factory=ScenarioSource)
    """The file of the scenario, for errors."""

    def codes(self, *wanted: tuple[Kind, Iterable[str | None]]) -> tuple[PluginCode, ...]:
        """Those that a stage must load, of names of which some are plug-ins."""
        keys = dict.fromkeys((kind, name) for kind, names in wanted for name in names if name is not None)
        return tuple(self.facts[key].code for key in keys if key in self.facts)

    def of(self, kind: Kind, name: str) -> PluginFacts | None:
        """What is known of one; None for names of the harness's own."""
        return self.facts.get((kind, name))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Register those plug-ins inside the block that planning and rows call.

        An exception of theirs, whatever it is, becomes a ScenarioError at the place of the plug-in.
        """
        members: dict[tuple[str, str], Any] = {}
        for key, facts in self.facts.items():
            if facts.code.kind in _CALLED_HERE:
                try:
                    members[key] = loaded(*key, facts.code.root, facts.code.sha256)
                except HarnessError as error:
                    raise self._error(facts, error.message, error.fix) from error
        with self._blaming(), plugged_in(members):
            yield

    def with_settings(self, scenario: Scenario) -> Scenario:
        """The same scenario, its sections of plug-ins read by the plug-ins' own types; call it inside `active`."""
        for facts in self.of_kind("load scenario"):
            kind = get_load_scenario(facts.code.name).settings_type
            scenario = with_load_settings(scenario, facts.code.name, kind)
        for facts in self.of_kind("target"):
            kind_of_options = get_target(facts.code.name).scenario_options
            scenario = with_target_options(scenario, facts.code.name, kind_of_options)
        return scenario

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except HarnessError:
            raise
        except BaseException as error:  # a plug-in may do anything when it is called
            facts = None if is_interrupt(error) else self._raised_by(error)
            if facts is None:
                raise
            message = f"`{facts.code.name}` failed: {described(error)}"
            raise self._error(facts, message, "correct the plug-in") from error

    def _error(self, facts: PluginFacts, message: str, fix: str | None) -> ScenarioError:
        use = next(use for use in self.uses if (use.kind, use.name) == (facts.code.kind, facts.code.name))
        return _error(self.source, use, message, fix)

    def _raised_by(self, error: BaseException) -> PluginFacts | None:
        """The plug-in whose code the exception went through last."""
        found = None
        for frame, _ in traceback.walk_tb(error.__traceback__):
            top = str(frame.f_globals.get("__name__")).partition(".")[0]
            file = frame.f_code.co_filename
            for facts in self.facts.values():
                if top == facts.package or any(str(each.path) == file for each in facts.code.files):
                    found = facts
        return found

    def of_kind(self, kind: Kind) -> tuple[PluginFacts, ...]:
        """All of one kind, in the order of the scenario."""
        return tuple(facts for (other, _), facts in self.facts.items() if other == kind)


def describe_plugins(scenario: Scenario, *, download: bool = False) -> Plugins:
    """Load and try every plug-in of the scenario; ScenarioError, with all their places, for those that cannot be used.

    Without plug-ins no process is started. `download`: whether data sources may fetch what is missing.
    """
    errors = list(_clashes(scenario))
    if errors:
        raise joined(errors)
    uses = plugin_uses(scenario)
    if not uses:
        return Plugins()
    facts: dict[tuple[Kind, str], PluginFacts] = {}
    limit_s = network_timeout_s(scenario)
    with Prober.opened(limit_s) as prober:
        for use in uses:
            found = _describe(prober, _request(scenario, use, download), limit_s)
            if isinstance(found, PluginFacts):
                facts[use.kind, use.name] = found
            else:
                errors.append(_error(scenario.source, use, found.message, found.fix))
    errors += _equal_names(scenario, uses, facts)
    if errors:
        raise joined(errors)
    return Plugins(facts, tuple(uses), scenario.source)


def _clashes(scenario: Scenario) -> Iterable[ScenarioError]:
    """Names of the harness's own that an installed package registers too: it is not clear which is meant."""
    for use in named_plugins(scenario):
        others = entry_points(use.kind).get(use.name, ())
        if others and use.name in built_in_names(use.kind):
            message = f"`{use.name}` is a built-in {use.kind}, and {distribution_of(others[0])} registers another one"
            yield _error(scenario.source, use, message, "uninstall the package, or let it register another name")


def _equal_names(
    scenario: Scenario, uses: Iterable[PluginUse], facts: Mapping[tuple[Kind, str], PluginFacts]
) -> Iterable[ScenarioError]:
    """Metrics and load scenarios are in the record under their own name, which two of them must not share."""
    seen: dict[tuple[Kind, str], str] = {}
    for use in uses:
        if use.kind in ("metric", "load scenario") and (found := facts.get((use.kind, use.name))) is not None:
            if (other := seen.get((use.kind, found.own_name))) is not None:
                message = f"`{use.name}` has the name `{found.own_name}`, as has `{other}`"
                yield _error(scenario.source, use, message, "give each a `name` of its own")
            seen[use.kind, found.own_name] = use.name


def _error(source: ScenarioSource, use: PluginUse, message: str, fix: str | None) -> ScenarioError:
    return source.error(use.loc, message, fix=fix, on_key=use.is_key)


def _request(scenario: Scenario, use: PluginUse, download: bool) -> PluginRequest:
    """With what planning will ask of the plug-in, so that it is tried before."""
    data: tuple[DatasetSpec, ...] = ()
    variants: tuple[Variant, ...] = ()
    if use.kind == "data source":
        others = [] if scenario.calib_dataset is None else [scenario.calib_dataset.spec()]
        data = tuple(spec for spec in (scenario.dataset, *others) if spec.source == use.name)
    elif use.kind in ("target", "toolkit"):
        axis = "target" if use.kind == "target" else "toolkit"
        variants = tuple(variant for variant in expand(scenario) if getattr(variant, axis) == use.name)
    return PluginRequest(
        use.kind, use.name, scenario.root, seed=scenario.seed, data=data, download=download, variants=variants
    )


def _describe(prober: Prober, request: PluginRequest, limit_s: float) -> PluginFacts | PluginFault:
    def job(number: int) -> PluginJob:
        return PluginJob(f"plug-in {number}", request.name, request, limit_s)

    def is_final(answer: object) -> bool:
        return isinstance(answer, PluginFacts) or (isinstance(answer, PluginFault) and answer.is_incomplete)

    found = prober.ask(job, is_good=is_final)
    if isinstance(found, ProbeFailed):
        return PluginFault(found.message, found.fix or _BOUNDARY_FIX)
    assert isinstance(found, PluginFacts | PluginFault)
    return found
