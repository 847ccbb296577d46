"""What Python files import, read from their text: nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Fields with nested statements. Imports are statements: not searching expressions is three times as fast."""


def absolute_imports(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Absolute names of all that statements of a module of `package` import, wherever they stand.

    `from a import b` gives `a.b`, whatever `b` is, and `from a import *` gives `a`. What stands under
    `if TYPE_CHECKING:` never runs and is left out.
    """
    for node in _running(nodes):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = source_of(node, package)
            yield from (source if alias.name == "*" else f"{source}.{alias.name}" for alias in node.names)


def source_of(node: ast.ImportFrom, package: str) -> str:
    """Absolute name of what `from ... import` imports from, in a module of `package`."""
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*base, *filter(None, [node.module])])


def _running(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and is_type_checking(node.test):
            waiting.extend(node.orelse)
        else:
            yield node
            for block in _BLOCKS:
                waiting.extend(getattr(node, block, ()))


def is_type_checking(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING`."""
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"
