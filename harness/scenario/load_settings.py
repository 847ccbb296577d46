"""Load scenarios in a scenario: each has a section of its own, defined in the load scenario's file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from harness.fields import OneOf
from harness.load.scenarios import load_scenarios
from harness.load.settings import LoadSettings


def settings_types() -> dict[str, type[LoadSettings]]:
    """The section of each load scenario, by its name."""
    return {name: scenario.settings_type for name, scenario in load_scenarios().items()}


class ByLoadScenario:
    """Annotation of a mapping from names of load scenarios to their settings."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        types = settings_types()
        names = handler.generate_schema(Annotated[str, OneOf(lambda: tuple(types))])
        fields = {
            name: core_schema.typed_dict_field(handler.generate_schema(section), required=False)
            for name, section in types.items()
        }
        return core_schema.chain_schema(
            [core_schema.dict_schema(names, core_schema.any_schema()), core_schema.typed_dict_schema(fields)]
        )
