"""Load scenarios in a scenario: each has a section of its own, defined in the load scenario's file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from harness.load.scenarios import load_scenarios
from harness.load.settings import LoadSettings
from harness.plugin_names import OneOfOrPlugin


def settings_types() -> dict[str, type[LoadSettings]]:
    """The section of each load scenario, by its name."""
    return {name: scenario.settings_type for name, scenario in load_scenarios().items()}


class UnreadSettings(LoadSettings):
    """Settings of a load scenario that is a plug-in: its own type reads them once it is loaded."""

    model_config = ConfigDict(extra="allow")


class ByLoadScenario:
    """Annotation of a mapping from names of load scenarios to their settings."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        types = settings_types()
        names = handler.generate_schema(Annotated[str, OneOfOrPlugin(lambda: tuple(types), "load scenario")])
        fields = {
            name: core_schema.typed_dict_field(handler.generate_schema(section), required=False)
            for name, section in types.items()
        }
        unread = handler.generate_schema(UnreadSettings)
        sections = core_schema.typed_dict_schema(fields, extra_behavior="allow", extras_schema=unread)
        return core_schema.chain_schema([core_schema.dict_schema(names, core_schema.any_schema()), sections])
