"""The reference page is what the schema says, and its example can be loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.scenario import expand
from harness.scenario.levels import levels
from harness.scenario.reference import PAGE, docstrings, render
from harness.scenario.reference_text import EXAMPLE

REPOSITORY = Path(__file__).parents[2]


def test_the_page_in_the_repository_is_up_to_date() -> None:
    page = (REPOSITORY / PAGE).read_text(encoding="utf-8")
    assert page == render(), "run `python -m harness.scenario.reference`"


def test_every_key_has_a_row_with_its_meaning() -> None:
    page = render()
    for level in levels():
        for key in level.section.model_fields:
            rows = [line for line in page.splitlines() if line.startswith(f"| `{key}` |")]
            assert rows
            assert all(not row.endswith("|  |") for row in rows)


@pytest.mark.parametrize(
    "row",
    [
        "| `max_epochs` | integer ≥ 1 | `8` | epoch | Passes over the training samples. |",
        "| `optimizer` | `sgd`, `adamw` | `sgd` |  | Update rule; `sgd` is with Nesterov momentum. |",
        "| `weight_bits` | list of integers ≥ 2, ≤ 8, or empty | see meaning | bit | Default: `[8]`. |",
        "| `round_s` | number > 0 | `0.01` | s | Timing of one variant in one round; at least one inference. |",
    ],
)
def test_a_row_tells_type_default_unit_and_meaning(row: str) -> None:
    assert row in render().splitlines()


def test_docstrings_include_inherited_fields() -> None:
    matrix = next(level.section for level in levels() if level.path == ("matrix",))
    assert {"model", "exclude"} <= docstrings(matrix).keys()


def test_the_example_loads_and_counts_as_the_text_says(load: Any) -> None:
    # fp32, 4 calibrators x 2 granularities of ptq, 1 x 2 of qat, and one row with a skip set.
    assert len(expand(load(EXAMPLE))) == 1 + 4 * 2 + 1 * 2 + 1


def test_importing_scenarios_imports_no_heavy_library() -> None:
    code = "import harness.scenario, sys; print(*{'torch', 'onnx', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
