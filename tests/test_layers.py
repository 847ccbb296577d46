"""Imports go one way: what describes and computes never imports what executes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOWER = (
    *("scenario", "data", "training", "quantization", "export", "targets", "timing", "metrics", "parity", "compare"),
    *("report", "probes", "load", "history", "starter", "verification"),
)
UPPER = ("harness.execution", "harness.cli", "harness.pytest_plugin")
TEMPLATES = ROOT / "harness" / "starter" / "files"
"""Of a user's project: they use the harness from above."""
FILES = [
    file
    for name in LOWER
    for file in sorted((ROOT / "harness" / name).rglob("*.py"))
    if not file.is_relative_to(TEMPLATES)
]


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every import in a module of `package`, wherever in the module it stands.

    Of `from a import b` both `a` and `a.b`, as `b` may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield node.lineno, source
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def is_upper(name: str) -> bool:
    return any(name == upper or name.startswith(f"{upper}.") for upper in UPPER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_below_imports_execution_or_the_command_line(file: Path) -> None:
    package = ".".join(file.relative_to(ROOT).parent.parts)
    found = [f"{file.name}:{line}: {name}" for line, name in imported(ast.parse(file.read_text()), package)]
    assert [text for text in found if is_upper(text.rpartition(" ")[2])] == []


def test_no_package_is_forgotten() -> None:
    packages = {folder.name for folder in (ROOT / "harness").iterdir() if (folder / "__init__.py").is_file()}
    assert packages - {"execution", "pytest_plugin"} == set(LOWER)


@pytest.mark.parametrize(
    "text",
    [
        "import harness.engine.store",
        "import json, harness.cli as c",
        "from harness import execution",
        "from harness.execution import store",
        "from harness.cli import main",
        "from ..execution.store import Store",
        "from .. import cli",
        "def f():\n    from harness.runs.run import prepare",
        "if TYPE_CHECKING:\n    import harness.execution",
    ],
)
def test_every_form_of_import_is_seen(text: str) -> None:
    assert any(is_upper(name) for _, name in imported(ast.parse(text), "harness.scenario"))


def test_other_imports_are_none() -> None:
    text = (
        "import harness.executions\nfrom harness.errors import StageError\nfrom . import cli\nfrom .execution import x"
    )
    assert not any(is_upper(name) for _, name in imported(ast.parse(text), "harness.scenario"))
