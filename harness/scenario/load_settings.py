"""Load scenarios in a scenario: each has a section of its own, defined in the load scenario's file."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Gt, Lt
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from harness.fields import Count, OneOf, Section, Unit, WholeNumber

TargetPercentile = Annotated[float, Gt(0), Lt(100), Unit("%")]


class LoadSettings(Section):
    """How long one load scenario runs. The keys of load scenarios are those of LoadGen's `user.conf`, with units."""

    min_duration_ms: Annotated[WholeNumber, Unit("ms")] = 10_000
    """The test goes on at least that long. MLPerf submissions take 600,000."""
    min_query_count: Annotated[Count, Unit("query")] = 100
    """The test issues at least that many queries (`offline`, which has one query: samples)."""
    warmup_ms: Annotated[WholeNumber, Unit("ms")] = 500
    """Untimed inferences before the test."""
    performance_sample_count: Annotated[Count, Unit("sample")] = 1024
    """Test samples that are held ready in memory and drawn from; all when there are fewer."""


def settings_types() -> dict[str, type[LoadSettings]]:
    """The section of each load scenario, by its name."""
    # Imported when first needed: load scenarios import this module.
    from harness.load.scenarios import load_scenarios

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
