"""The page `docs/scenario-reference.md`, written from the schema: `python -m harness.scenario.reference [FILE]`."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from harness.fields import NAME_PATTERN, OneOf, Section, Unit
from harness.plugin_names import OneOfOrPlugin, OrFile
from harness.scenario.axes import Axes
from harness.scenario.levels import ANY, Level, levels, section_in
from harness.scenario.reference_text import CLOSING, EXAMPLE, OPENING, SOURCE_ARGS

PAGE = Path("docs/scenario-reference.md")

_BASIC = {bool: "true or false", int: "integer", float: "number", str: "text"}
_LIMITS = ((Gt, "gt", ">"), (Ge, "ge", "≥"), (Lt, "lt", "<"), (Le, "le", "≤"))
_SAME_KEYS = {
    ("pre_launch_callbacks_list", ANY, "QATRecipeModificationCallback"): "The keys of [`qat_params`](#qat_params).",
    ("models", ANY, "training"): "The keys of [`training`](#training); those that are left out keep its values.",
    (
        "matrix",
        "exclude",
        ANY,
    ): "The axes of [`matrix`](#matrix), at least one. One that is left out matches everything.",
    (
        "matrix",
        "include",
        ANY,
    ): "The axes of [`matrix`](#matrix), at least one. One that is left out has the first value of the matrix axis.",
    ("gates", ANY, "where"): "The axes of [`matrix`](#matrix), at least one. One that is left out matches everything.",
}
"""Levels whose keys another level's table has already."""


def render() -> str:
    """The whole page as Markdown."""
    tables = "\n".join(_level_text(level) for level in levels())
    return f"{OPENING}\n```yaml\n{EXAMPLE}```\n\n## Keys\n\n{tables}\n{_source_args_text()}\n{CLOSING}"


def _source_args_text() -> str:
    """`dataset.args` of every data source."""
    from harness.data.sources import data_sources  # not at the top: a scenario is read without them

    parts = [SOURCE_ARGS]
    for name, source in sorted(data_sources().items()):
        fields = source.args_type.model_fields
        about = " ".join((inspect.getdoc(source) or "").split())
        table = "\n".join(_fields_table(source.args_type)) if fields else "It takes no arguments."
        parts.append(f"#### `source: {name}`\n\n{about}\n\n{table}\n")
    return "\n".join(parts)


def docstrings(section: type[BaseModel]) -> dict[str, str]:
    """The text beneath each field of a section class, its own and inherited ones."""
    found: dict[str, str] = {}
    owners = [base for base in section.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]
    for owner in reversed(owners):
        body = ast.parse(inspect.getsource(owner)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _level_text(level: Level) -> str:
    name = _level_name(level.path)
    title = f"### {'Top level' if not level.path else f'`{name}`'}\n"
    if level.path in _SAME_KEYS:
        return f"{title}\n{_SAME_KEYS[level.path]}\n"
    about = " ".join((inspect.getdoc(level.section) or "").split())
    return "\n".join([title, f"{about}\n", *_table(level), ""])


def _level_name(path: tuple[str, ...]) -> str:
    return (
        ".".join("NAME" if part == ANY else part for part in path)
        .replace("clude.NAME", "clude[]")
        .replace("list.NAME", "list[]")
        .replace("gates.NAME", "gates[]")
    )


def _table(level: Level) -> Iterator[str]:
    return _fields_table(level.section)


def _fields_table(section: type[BaseModel]) -> Iterator[str]:
    yield "| key | type | default | unit | meaning |"
    yield "|---|---|---|---|---|"
    texts = docstrings(section)
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        meaning = texts.get(name) or " ".join((inspect.getdoc(inner) or "").split())
        annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        unit = ", ".join(dict.fromkeys(_units(annotation)))
        default = _default_text(section, field)
        cells = (f"`{name}`", _type_text(annotation), default, unit, meaning)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _units(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, Unit):
            yield part.name
        elif get_origin(annotation) is not Literal:
            yield from _units(part)


def _type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is not None:
        return _composed_text(origin, arguments)
    return "section" if issubclass(annotation, Section) else _BASIC[annotation]


def _composed_text(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is Annotated:
        return _annotated_text(arguments[0], arguments[1:])
    if origin is Literal:
        return _choice_text(arguments)
    if origin in (Union, UnionType):
        kinds = [_type_text(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(kinds) + (", or empty" if len(kinds) < len(arguments) else "")
    if origin is tuple:
        count = "" if Ellipsis in arguments else f"{len(arguments)} "
        return f"list of {count}{_plural(_type_text(arguments[0]))}"
    return "sections by name" if section_in(arguments[1]) else "free mapping"


def _choice_text(values: Iterable[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _plural(text: str) -> str:
    for word in ("integer", "number", "text", "name", "section", "list"):
        if text.startswith(word):
            return text.replace(word, f"{word}s", 1)
    return text


def _annotated_text(inner: Any, metadata: tuple[Any, ...]) -> str:
    if any(isinstance(item, StringConstraints) and item.pattern == NAME_PATTERN for item in metadata):
        return "name or `FILE.py:NAME`" if any(isinstance(item, OrFile) for item in metadata) else "name"
    for item in metadata:
        if isinstance(item, OneOf):
            more = ", or a plug-in" if isinstance(item, OneOfOrPlugin) else ""
            return _choice_text(item.names()) + more
    limits = [
        f"{sign} {getattr(item, attribute)}"
        for item in metadata
        for kind, attribute, sign in _LIMITS
        if isinstance(item, kind)
    ]
    return " ".join([_type_text(inner), ", ".join(limits)]).strip()


def _default_text(section: type[BaseModel], field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if issubclass(section, Axes) and default is None:
        return "see meaning"
    if isinstance(default, Section):
        return "its defaults"
    return "empty" if default is None else f"`{_yaml_text(default)}`"


def _yaml_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_yaml_text(item) for item in value) + "]"
    return str(value)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(render(), encoding="utf-8")
