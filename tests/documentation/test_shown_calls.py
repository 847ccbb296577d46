"""Calls of other libraries that pages show exist as they are shown, and the files for editors work."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from harness.scenario.json_schema import FILE_NAME, json_schema

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def called(block: str, name: str) -> ast.Call:
    (found,) = [
        node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call) and ast.unparse(node.func) == name
    ]
    return found


def binds(function: Any, call: ast.Call) -> None:
    """TypeError unless the function takes such arguments."""
    inspect.signature(function).bind(*call.args, **{str(each.arg): each.value for each in call.keywords})


def test_the_call_of_nncf() -> None:
    nncf = pytest.importorskip("nncf")
    (block,) = blocks("from-nncf.md", "python")
    binds(nncf.quantize, called(block, "nncf.quantize"))
    binds(nncf.Dataset, called(block, "nncf.Dataset"))
    assert nncf.QuantizationPreset.MIXED
    text = (DOCS / "from-nncf.md").read_text(encoding="utf-8")
    options = re.findall(r"`(\w+)=", text) + re.findall(r"quantize_with_accuracy_control\(…, (\w+)=", text)
    known = {*inspect.signature(nncf.quantize).parameters}
    known |= {*inspect.signature(nncf.quantize_with_accuracy_control).parameters}
    assert {"subset_size", "fast_bias_correction", "ignored_scope", "max_drop"} <= {*options} <= known


def test_the_call_of_modelopt() -> None:
    try:  # its import fails where one of the two packages is missing that it does not declare
        mtq = importlib.import_module("modelopt.torch.quantization")
    except ImportError:
        pytest.skip("the extra `modelopt` is not installed")
    (block,) = blocks("from-modelopt.md", "python")
    binds(mtq.quantize, called(block, "mtq.quantize"))
    assert mtq.INT8_DEFAULT_CFG


def test_every_python_block_of_a_page_for_other_tools_is_python() -> None:
    for page in ("from-nncf.md", "from-modelopt.md", "from-ultralytics.md"):
        for block in blocks(page, "python"):
            ast.parse(block)


def test_what_the_page_about_editors_shows_validates() -> None:
    """As a language server does it: the comment names the file that `harness schema` makes, and it judges the keys."""
    (block,) = blocks("editors.md", "yaml")
    assert block.splitlines()[0] == f"# yaml-language-server: $schema={FILE_NAME}"
    assert any(f"harness schema > scenarios/{FILE_NAME}" in each for each in blocks("editors.md", "bash"))
    shown = YAML(typ="safe").load(block)
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(shown)) == []
    wrong = shown | {"dataset": {"source": "fashion_mnist", "calibration_sample": 1}}
    assert any("calibration_sample" in error.message for error in validator.iter_errors(wrong))


def test_the_settings_for_an_editor_are_json() -> None:
    (block,) = blocks("editors.md", "json")
    assert json.loads(block) == {"yaml.schemas": {f"scenarios/{FILE_NAME}": "scenarios/*.yaml"}}
