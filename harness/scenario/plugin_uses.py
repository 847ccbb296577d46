"""Which plug-ins a scenario names, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from harness.plugin_names import Kind, entry_points, parse_file_name
from harness.quantization.settings import calibrator_names, ptq_step_names
from harness.registry import file_names
from harness.scenario.schema import Scenario
from harness.scenario.source import Loc
from harness.targets import targets
from harness.toolkits import DEFAULT, toolkits
from harness.training.settings import Training


class PluginUse(NamedTuple):
    """A name that refers to a plug-in, with its place."""

    kind: Kind
    name: str
    loc: Loc

    @property
    def is_key(self) -> bool:
        """Whether the name is a key of the file, not a value."""
        return self.loc[0] == "targets" or self.loc[:2] == ("measurement", "load")


def named_plugins(scenario: Scenario) -> Iterator[PluginUse]:
    """Every name in the scenario that could be that of a plug-in."""
    yield PluginUse("data source", scenario.dataset.source, ("dataset", "source"))
    if scenario.calib_dataset is not None:
        yield PluginUse("data source", scenario.calib_dataset.source, ("calib_dataset", "source"))
    for name in scenario.targets:
        yield PluginUse("target", name, ("targets", name))
    for loc, axes in scenario.matrix.located():
        yield from _each("target", axes.target, (*loc, "target"))
        yield from _each("toolkit", axes.toolkit, (*loc, "toolkit"))
        yield from _each("calibrator", axes.calibrator, (*loc, "calibrator"))
        for index, steps in enumerate(axes.ptq_steps or ()):
            yield from _each("PTQ step", steps, (*loc, "ptq_steps", index))
    params: Loc = ("quantization_params",)
    yield from _each("PTQ step", scenario.quantization_params.ptq_steps, (*params, "ptq_steps"))
    for index, rule in enumerate(scenario.quantization_params.rules):
        for key, descriptor in (("input", rule.input), ("weight", rule.weight)):
            if descriptor is not None and descriptor.calib_method not in (None, "histogram"):
                loc = (*params, "rules", index, key, "calib_method")
                yield PluginUse("calibrator", str(descriptor.calib_method), loc)
    yield from _each("metric", scenario.measurement.metrics, ("measurement", "metrics"))
    for name in scenario.measurement.load:
        yield PluginUse("load scenario", name, ("measurement", "load", name))
    yield from _loops(scenario)


def _each(kind: Kind, names: Sequence[str] | None, loc: Loc) -> Iterator[PluginUse]:
    for index, name in enumerate(names or ()):
        yield PluginUse(kind, name, (*loc, index))


def _loops(scenario: Scenario) -> Iterator[PluginUse]:
    trainings: list[tuple[Loc, Training]] = [(("training",), scenario.training)]
    trainings += [(("models", name, "training"), spec.training) for name, spec in scenario.models.items()]
    for loc, training in trainings:
        if "factory" in training.model_fields_set and training.factory is not None:
            yield PluginUse("training loop", training.factory, (*loc, "factory"))


def plugin_uses(scenario: Scenario) -> list[PluginUse]:
    """The names that refer to plug-ins: each kind and name once, at its first place."""
    found: dict[tuple[Kind, str], PluginUse] = {}
    for use in named_plugins(scenario):
        if parse_file_name(use.name) or _is_installed(use):
            found.setdefault((use.kind, use.name), use)
    return list(found.values())


def _is_installed(use: PluginUse) -> bool:
    return use.name not in built_in_names(use.kind) and use.name in entry_points(use.kind)


def built_in_names(kind: Kind) -> Iterable[str]:
    """Names of the harness's own plug-ins of a kind; those of metrics are never written in scenarios."""
    if kind == "calibrator":
        return calibrator_names()
    if kind == "PTQ step":
        return ptq_step_names()
    if kind == "data source":
        return file_names("harness.data.sources")
    if kind == "load scenario":
        return file_names("harness.load.scenarios")
    if kind == "toolkit":
        return (DEFAULT, *toolkits())
    return tuple(targets()) if kind == "target" else ()
