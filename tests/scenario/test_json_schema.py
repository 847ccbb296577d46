"""The JSON schema takes every scenario that the harness takes, and refuses what an editor should underline."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from harness.cli import app
from harness.scenario import reference_text
from harness.scenario.json_schema import FILE_NAME, json_schema
from harness.starter.write import starter_files

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
HEAD: dict[str, Any] = {
    "name": "x",
    "dataset": {"source": "fashion_mnist"},
    "models": {"net": {"factory": "models/net.py:net"}},
}


def problems(scenario: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(scenario)]


def parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("file", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda file: file.stem)
def test_our_own_scenarios_pass(file: Path) -> None:
    assert problems(parsed(file.read_text(encoding="utf-8"))) == []


def test_the_example_with_every_key_passes() -> None:
    assert problems(parsed(reference_text.EXAMPLE)) == []


def test_the_blocks_of_the_guide_from_supergradients_pass() -> None:
    page = (ROOT / "docs" / "from-supergradients.md").read_text(encoding="utf-8")
    blocks = [parsed(text) for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert len(blocks) >= 3
    assert [problems(HEAD | block) for block in blocks] == [[]] * len(blocks)


@pytest.mark.parametrize(
    "section",
    [
        {"matrix": {"method": "ptq", "calibrator": ["max"], "skip": ["head", ["stem", "head"], []]}},
        {"matrix": None, "measurement": None, "training": None},
        {"quantization_params": {"rules": [{"types": "Conv2d", "input": {"amax": 3}, "weight": {"axis": [0]}}]}},
        {"gates": [{"metric": "accuracy.drop", "at_most": 0.01, "where": {"method": "ptq"}}]},
    ],
    ids=json.dumps,
)
def test_short_forms_pass(section: dict[str, Any]) -> None:
    assert problems(HEAD | section) == []


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"datset": {}}, "'datset' was unexpected"),
        ({"matrix": {"calibrator": "maximum"}}, "matrix.calibrator: 'maximum'"),
        ({"matrix": {"weight_bits": [1]}}, "matrix.weight_bits"),
        ({"training": {"max_epoch": 1}}, "'max_epoch' was unexpected"),
        ({"measurement": {"parity": "all"}}, "measurement.parity: 'all'"),
        ({"name": "Two Words"}, "name: 'Two Words' does not match"),
    ],
    ids=str,
)
def test_mistakes_do_not(section: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in problems(HEAD | section)), problems(HEAD | section)


def test_every_key_says_what_it_means() -> None:
    schema = json_schema()
    sections = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    silent = [
        f"{section['title']}.{name}"
        for section in sections
        for name, field in section["properties"].items()
        if not field.get("description") and "$ref" not in json.dumps(field)
    ]
    assert silent == []


def test_the_command_prints_it_and_the_starter_has_it_beside_the_scenario() -> None:
    printed = CliRunner().invoke(app, ["schema"])
    assert json.loads(printed.output) == json_schema()
    files = {path.as_posix(): text for path, text in starter_files("quant-harness", "x")}
    assert json.loads(files[f"scenarios/{FILE_NAME}"]) == json_schema()
    scenario = files["scenarios/small_cnn.yaml"]
    assert scenario.startswith(f"# yaml-language-server: $schema={FILE_NAME}\n")
    assert problems(parsed(scenario)) == []
