"""Sections of a scenario whose keys a plug-in defines: load scenarios and targets."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.fields import Section
from harness.load.settings import LoadSettings
from harness.scenario.problems import scenario_errors
from harness.scenario.schema import Scenario
from harness.scenario.source import joined
from harness.targets.settings import TargetOptions

SectionT = TypeVar("SectionT", bound=Section)


def with_load_settings(scenario: Scenario, name: str, kind: type[LoadSettings]) -> Scenario:
    """The same scenario, its section of a load scenario read as `kind`; ScenarioError for keys that do not fit."""
    given = scenario.measurement.load[name]
    read = _read(scenario, ("measurement", "load", name), kind, given)
    load = scenario.measurement.load | {name: read}
    return scenario.model_copy(update={"measurement": scenario.measurement.model_copy(update={"load": load})})


def with_target_options(scenario: Scenario, name: str, kind: type[TargetOptions]) -> Scenario:
    """The same scenario, its section of a target read as `kind`, the defaults where it has none; likewise."""
    given = scenario.targets.get(name)
    read = kind() if given is None else _read(scenario, ("targets", name), kind, given)
    return scenario.model_copy(update={"targets": scenario.targets | {name: read}})


def _read(scenario: Scenario, loc: tuple[str, ...], kind: type[SectionT], given: Section) -> SectionT:
    values = {key: value for key, value in dict(given).items() if key in given.model_fields_set}
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise joined(scenario_errors(error, scenario.source, loc)) from None
