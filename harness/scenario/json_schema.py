"""The JSON schema of the scenario file, which editors complete and check with: `harness schema`."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel

from harness.scenario.levels import levels
from harness.scenario.reference import docstrings
from harness.scenario.schema import Scenario

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE_NAME = "scenario.schema.json"
"""Beside a scenario whose first line is `# yaml-language-server: $schema=scenario.schema.json`."""


def json_schema() -> dict[str, Any]:
    """The schema with the texts of the scenario reference; what is correct passes it, not all that passes is correct.

    Files, names of models in other places, and keys that exclude each other are checked by `load_scenario` alone.
    """
    schema = Scenario.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for section in {Scenario: None} | {level.section: None for level in levels()}:
        _describe(schema if section is Scenario else definitions.get(section.__name__, {}), section)
    return {"$schema": DIALECT, **schema}


def _describe(schema: dict[str, Any], section: type[BaseModel]) -> None:
    schema["description"] = " ".join((inspect.getdoc(section) or "").split())
    texts = docstrings(section)
    for name, field in schema.get("properties", {}).items():
        field.pop("title", None)
        if name in texts:
            field["description"] = texts[name]
