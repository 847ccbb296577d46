"""A small project on disk, and scenario files in it whose expected place of error is marked in the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.scenario import Scenario, load_scenario

HEAD = """\
name: small
dataset: {source: fashion_mnist}
models: {r: {factory: models/resnet.py:resnet8}}
"""
PLACE = "§"
"""Stands before the character that an error must point at."""

Load = Callable[[str], Scenario]
Refuse = Callable[[str], ScenarioError]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project root with one model file and one weights file."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resnet.py").write_text("def resnet8(): ...\n")
    (tmp_path / "models" / "r.safetensors").write_bytes(b"")
    (tmp_path / "scenarios").mkdir()
    return tmp_path


@pytest.fixture
def load(project: Path) -> Load:
    """Loads a text as the scenario `scenarios/s.yaml` of the project."""

    def write_and_load(text: str) -> Scenario:
        path = project / "scenarios" / "s.yaml"
        path.write_text(text, encoding="utf-8")
        return load_scenario(path)

    return write_and_load


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """Loads a text that must be refused at the marked place; returns the error."""

    def write_and_refuse(marked: str) -> ScenarioError:
        before, _, after = marked.partition(PLACE)
        with pytest.raises(ScenarioError) as caught:
            load(before + after)
        line_start = before.rfind("\n") + 1
        assert (caught.value.line, caught.value.column) == (before.count("\n") + 1, len(before) - line_start + 1)
        return caught.value

    return write_and_refuse


@pytest.fixture
def head() -> str:
    """The shortest valid scenario, of three lines."""
    return HEAD
