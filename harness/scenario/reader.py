"""YAML text as plain values, with the position of every key and value.

YAML 1.2: `on`, `off`, `yes`, `no` and dates are text. Tags that would build objects are refused.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, Event, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from harness.errors import ScenarioError, shortened
from harness.scenario.source import Loc, Mark, Place, ScenarioSource, joined

MAX_BYTES = 2**18
"""A larger file is refused before it is read."""

MAX_NODES = 10_000
"""More values than any scenario needs; a file that has more, itself or through aliases that multiply, is refused."""

MAX_DEPTH = 64
"""Deeper than any scenario needs; keeps deep nesting from exhausting the stack."""

_TOO_DEEP = f"values are nested more than {MAX_DEPTH} deep"
_ESCAPE = re.compile(r"\\U([0-9A-Fa-f]{8})")
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + name for name in ("str", "timestamp", "merge")}
_SCALAR_TAGS = _TEXT_TAGS | {_TAG + name for name in ("null", "bool", "int", "float")}
_RADIX_PREFIXES = ("0x", "0o", "0b")
_LARGEST_INTEGER = 2**63 - 1
_CONTROL, _SURROGATE = "Cc", "Cs"
"""Categories of Unicode characters that no text of a scenario may hold, line ends and tabs excepted."""
_LINE_CHARACTERS = "\t\n\r"


def read_yaml(text: str, path: Path, root: Path) -> tuple[JsonValue, ScenarioSource]:
    """Values of one YAML document and where they stand; ScenarioError when it is not one sound document."""
    node = _compose(text, path)
    if node is None:
        raise ScenarioError(
            "the scenario file is empty",
            path=path,
            line=1,
            column=1,
            fix="write at least `name`, `dataset` and `models`, or start from a file in `scenarios/`",
        )
    builder = _Builder(path)
    value = builder.build(node, (), None)
    if builder.errors:
        raise joined(builder.errors)
    return value, ScenarioSource(path, root, builder.places)


def _compose(text: str, path: Path) -> Node | None:
    try:
        _check_bounds(text, path)
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except ScenarioError:
        raise
    except MarkedYAMLError as error:
        raise _syntax_error(error, text, path) from None
    except ReaderError as error:
        mark = mark_at(text, error.position)
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"character U+{code:04X} is not allowed in YAML"
        raise ScenarioError(message, path=path, line=mark.line, column=mark.column, fix="delete it") from None
    except YAMLError as error:
        raise ScenarioError(f"not valid YAML: {error}", path=path) from None
    except (ValueError, OverflowError, IndexError, AttributeError, NotImplementedError, TypeError, AssertionError):
        # The parser stumbles over some texts, such as an escape beyond Unicode, instead of refusing them.
        raise _stumbled(text, path) from None
    return node


def _check_bounds(text: str, path: Path) -> None:
    """ScenarioError for more or deeper values than any scenario has, before any of them is kept."""
    nodes, depth = 0, 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        nodes += isinstance(event, NodeEvent)
        if nodes > MAX_NODES:
            raise _beyond(event, path, f"more than {MAX_NODES} values", "write less")
        if depth > MAX_DEPTH + 1:
            raise _beyond(event, path, _TOO_DEEP, "write them flatter")


def _beyond(event: Event, path: Path, message: str, fix: str) -> ScenarioError:
    mark = event.start_mark
    return ScenarioError(message, path=path, line=mark.line + 1, column=mark.column + 1, fix=fix)


def _stumbled(text: str, path: Path) -> ScenarioError:
    """At the first escape that names no character, else without a place."""
    message = "not valid YAML: something in it cannot be read"
    for found in _ESCAPE.finditer(text):
        if int(found[1], 16) > sys.maxunicode:
            mark = mark_at(text, found.start())
            return ScenarioError(
                f"`{found[0]}` is beyond the last character of Unicode",
                path=path,
                line=mark.line,
                column=mark.column,
                fix="correct the escape, or put the text in single quotes",
            )
    return ScenarioError(message, path=path, line=1, column=1, fix="remove escapes and unusual characters from it")


def _syntax_error(error: MarkedYAMLError, text: str, path: Path) -> ScenarioError:
    mark = error.problem_mark or error.context_mark
    problem, context = str(error.problem or ""), str(error.context or "")
    fix = "check the indentation, and quote texts that hold `: `, ` #` or begin with a special character"
    if "single document" in context:
        problem, context, fix = "a scenario file holds one document", "", "put what follows into a file of its own"
    elif ("stream end" in problem or "end of stream" in problem) and error.context_mark:
        mark, problem, context, fix = (
            error.context_mark,
            "what begins here never ends",
            "",
            "close the bracket or quote",
        )
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    if "'\\t'" in problem or (line <= len(lines) and "\t" in lines[line - 1][: column - 1]):
        problem, context, fix = "a tab cannot indent or separate in YAML", "", "use spaces"
    problem = problem + (f" ({context})" if context else "")
    return ScenarioError(f"not valid YAML: {problem}", path=path, line=line, column=column, fix=fix)


def mark_at(text: str, position: int) -> Mark:
    """Line and column of the character at `position`."""
    before = text[:position]
    return Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


class _Builder:
    """Turns composed nodes into plain values, and notes their places and what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[Loc, Place] = {}
        self.errors: list[ScenarioError] = []
        self._open: set[int] = set()
        self._nodes = 0

    def build(self, node: Node, loc: Loc, key: Mark | None) -> JsonValue:
        mark = _mark(node)
        is_empty = isinstance(node, ScalarNode) and node.value == "" and node.style is None
        self.places[loc] = Place(key, key if key and is_empty else mark, isinstance(node, ScalarNode))
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(mark, f"more than {MAX_NODES} values", "write less, or use fewer aliases")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if len(loc) > MAX_DEPTH:
            raise self._error(mark, _TOO_DEEP, "write them flatter")
        if id(node) in self._open:
            raise self._error(mark, "this value holds an alias of itself", "write the value out")
        self._open.add(id(node))
        value = self._collection(node, loc)
        self._open.discard(id(node))
        return value

    def _collection(self, node: Node, loc: Loc) -> JsonValue:
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(child, (*loc, index), None) for index, child in enumerate(node.value)]
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, loc)
        return self._refuse_tag(node)

    def _mapping(self, node: MappingNode, loc: Loc) -> JsonValue:
        value: dict[str, JsonValue] = {}
        first: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node)
            if not isinstance(key_node, ScalarNode):
                self.errors.append(self._error(mark, "a key must be a text", "write `key: value`"))
                continue
            key = str(key_node.value)
            if (character := _unusable(key)) is not None:
                self.errors.append(_not_allowed(self._error, mark, character))
            elif key == "<<":
                self.errors.append(
                    self._error(mark, "merge keys (`<<`) are not part of YAML 1.2", "write the keys out")
                )
            elif key in first:
                message = f"key `{shortened(key)}` is given twice, first on line {first[key].line}"
                self.errors.append(self._error(mark, message, "delete one of them"))
            else:
                first[key] = mark
                value[key] = self.build(value_node, (*loc, key), mark)
        return value

    def _scalar(self, node: ScalarNode) -> JsonValue:
        text = str(node.value)
        if node.tag not in _SCALAR_TAGS:
            return self._refuse_tag(node)
        if (character := _unusable(text)) is not None:
            self.errors.append(_not_allowed(self._error, _mark(node), character))
            return None
        if node.tag in _TEXT_TAGS:
            return text
        kind = str(node.tag).removeprefix(_TAG)
        try:
            return _plain_value(kind, text)
        except ValueError:
            self.errors.append(self._error(_mark(node), f"`{text:.40}` is not a usable {kind}", "correct the value"))
            return None

    def _refuse_tag(self, node: Node) -> JsonValue:
        name = str(node.tag).replace(_TAG, "!!")
        self.errors.append(self._error(_mark(node), f"tag `{name}` is not allowed", "write a plain value"))
        return None

    def _error(self, mark: Mark, message: str, fix: str) -> ScenarioError:
        return ScenarioError(message, path=self.path, line=mark.line, column=mark.column, fix=fix)


def _mark(node: Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _unusable(text: str) -> str | None:
    """The first character that no text may hold; None where there is none."""
    if text.isprintable():
        return None
    found = (each for each in text if each not in _LINE_CHARACTERS)
    return next((each for each in found if unicodedata.category(each) in (_CONTROL, _SURROGATE)), None)


def _not_allowed(error: Callable[[Mark, str, str], ScenarioError], mark: Mark, character: str) -> ScenarioError:
    return error(mark, f"character U+{ord(character):04X} is not allowed here", "delete it")


def _plain_value(kind: str, text: str) -> JsonValue:
    """Value of a scalar by the YAML 1.2 core schema; ValueError when the text is none of that kind."""
    if kind == "null":
        return None
    if kind == "bool":
        return ("false", "true").index(text.lower()) == 1
    if kind == "int":
        number = int(text, 0) if text.lstrip("+-").startswith(_RADIX_PREFIXES) else int(text)
        if abs(number) > _LARGEST_INTEGER:
            raise ValueError("beyond 64 bits")
        return number
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
