"""One word for one thing: retired words stay retired, and a class name means one class."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RETIRED = {
    r"nights?": "nightly run",
    r"yardsticks?": "reference",
    r"grave(st|r)": "most severe",
    r"twins?": "A/A control",
    r"nonce": "measurement id",
    r"nobody": "the passive",
    r"by luck": "by chance, family-wise error",
    r"held against": "compared with, checked against",
    r"left in float|(leaves?|stays?|leave it) in float": "not quantized, not running in INT8",
    r"in float now": "no longer INT8",
    r"held_against": "compared_figure",
}
"""Expressions of words that are not the field's, and what to write instead."""
RECORDED = {'"twin"': "name of the A/A control's session in sample files"}


def documents() -> list[Path]:
    own = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "scenarios").glob("*.yaml")]
    return sorted(
        [*own, *(path for path in (ROOT / "harness/starter/files").rglob("*") if path.suffix in {".md", ".yml"})]
    )


def modules() -> list[Path]:
    return sorted(path for path in (ROOT / "harness").rglob("*.py") if "files" not in path.parts)


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a document; messages and docstrings of a module, with their lines."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and f'"{node.value}"' not in RECORDED:
            yield node.lineno, " ".join(node.value.split())


@functools.cache
def texts() -> list[tuple[Path, int, str]]:
    return [
        (path.relative_to(ROOT), line, text) for path in (*documents(), *modules()) for line, text in texts_of(path)
    ]


@pytest.mark.parametrize("word", RETIRED)
def test_retired_words_are_in_no_document_message_or_docstring(word: str) -> None:
    retired = re.compile(rf"\b(?:{word})\b", re.IGNORECASE)
    found = [f"{path}:{line}: {text}" for path, line, text in texts() if retired.search(text)]
    assert not found, f"write {RETIRED[word]} instead:\n" + "\n".join(found)


def test_a_class_name_means_one_class() -> None:
    places = defaultdict(list)
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    repeated = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not repeated
