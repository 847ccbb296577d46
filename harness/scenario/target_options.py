"""Options of targets in a scenario: each target has a section of its own, defined in the target's file."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from harness.plugin_names import PluginName
from harness.targets import targets
from harness.targets.settings import TargetOptions


def options_types() -> dict[str, type[TargetOptions]]:
    """The section of each known target, by the target's name."""
    return {name: target.scenario_options for name, target in targets().items()}


class UnreadOptions(TargetOptions):
    """Options of a target that is a plug-in: its own type reads them once it is loaded."""

    model_config = ConfigDict(extra="allow")


class ByTarget:
    """Annotation of a mapping from target names to their options; those of plug-ins are read when they are loaded."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        unread = handler.generate_schema(UnreadOptions)
        fields = {
            name: core_schema.typed_dict_field(handler.generate_schema(section), required=False)
            for name, section in options_types().items()
        }
        names = core_schema.dict_schema(handler.generate_schema(PluginName), core_schema.any_schema())
        sections = core_schema.typed_dict_schema(fields, extra_behavior="allow", extras_schema=unread)
        return core_schema.chain_schema([names, sections])
