"""A variant as a piece of a scenario file, ready to be pasted."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from harness.errors import StageError
from harness.results import Variant
from harness.scenario.axes import Axes
from harness.scenario.matrix import expand
from harness.scenario.problems import scenario_errors
from harness.scenario.reader import read_yaml
from harness.scenario.schema import Scenario
from harness.scenario.source import joined

_NEVER_WRAPPED = 1_000_000
"""Columns; a skip set stays on one line."""


def include_fragment(variants: Sequence[Variant], comment: str) -> str:
    """YAML with one `matrix.include` entry for each variant, below `comment`."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = _NEVER_WRAPPED
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = StringIO()
    yaml.dump({"matrix": {"include": [_entry(variant) for variant in variants]}}, text)
    return "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines()) + text.getvalue()


def _entry(variant: Variant) -> dict[str, Any]:
    """Every axis that the variant has a value on; a set is one value among several, so a list in a list."""
    values = {name: getattr(variant, name, None) for name in Axes.model_fields}
    return {
        name: _on_one_line([list(value)]) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def _on_one_line(items: list[list[Any]]) -> CommentedSeq:
    sequence = CommentedSeq(items)
    sequence.fa.set_flow_style()
    return sequence


def with_fragment(scenario: Scenario, text: str) -> tuple[Variant, ...]:
    """The variants of `scenario` with the fragment's entries appended to its own, read as a user's file would be.

    ScenarioError for a fragment that the scenario cannot take.
    """
    fragment, source = read_yaml(text, Path("fragment.yaml"), scenario.root)
    if not isinstance(fragment, dict) or not isinstance(matrix := fragment.get("matrix"), dict):
        raise StageError("a fragment is a mapping with `matrix.include`")
    data = scenario.model_dump(mode="json", exclude_unset=True)
    entries = [*data.setdefault("matrix", {}).get("include", []), *(_as_list(matrix.get("include")))]
    data["matrix"]["include"] = entries
    try:
        return expand(Scenario.model_validate(data))
    except ValidationError as error:
        raise joined(scenario_errors(error, source)) from None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
