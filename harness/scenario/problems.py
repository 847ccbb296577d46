"""What pydantic finds wrong with a scenario file, in the user's words and at its place in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harness.errors import ScenarioError, nearest, shortened
from harness.fields import NAME_MAX_LENGTH
from harness.scenario.levels import levels, section_at
from harness.scenario.source import Loc, ScenarioSource, dotted

MAX_ERRORS = 50
"""That are shown; the first one that is corrected often corrects many."""
SURELY_MEANT = 0.8
"""Similarity from which a misspelt key is taken for its neighbour rather than for a key of another level."""

_CALIBRATION_DATA = "data to calibrate on, other than training samples, is `calib_dataset: {source: NAME}`"
_BEFORE = {
    "QATRecipeModificationCallback": "put its keys under `qat_params`",
    "calib_dataloader": f"delete it, or: {_CALIBRATION_DATA}",
    "calib_dataloader_params": f"delete it (no range depends on the batch size); {_CALIBRATION_DATA}",
    "calib_dataset_params": _CALIBRATION_DATA,
    "dataset_params": f"the data is named under `dataset`; {_CALIBRATION_DATA}",
    "train_dataloader": "the data is named under `dataset`",
    "val_dataloader": "the data is named under `dataset`",
    "training_hyperparams": "its keys go under `training`",
    "architecture": "networks are named under `models`",
    "arch_params": "put its keys under `models.NAME.args`",
    "checkpoint_params": "a weights file is named by `models.NAME.weights`",
    "experiment_name": "write `name`",
    "defaults": "one scenario is one file: write the keys out",
}
"""Keys of SuperGradients recipes that have another place here."""

_LONGEST_MESSAGE = 400
_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "finite_number": "a finite number",
}
_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_EMPTY = ("is empty", "give at least one, or leave the key out where it has a default")
_LENGTHS = {"too_short": _EMPTY, "string_too_short": _EMPTY, "too_long": ("may hold one entry", "delete the others")}


class Problem(NamedTuple):
    """One thing that is wrong."""

    message: str
    fix: str | None
    on_key: bool = False


def scenario_errors(error: ValidationError, source: ScenarioSource, above: Loc = ()) -> list[ScenarioError]:
    """One ScenarioError for each thing that pydantic found in the file, or in the section at `above`."""
    return [_scenario_error(details, source, above) for details in error.errors(include_url=False)[:MAX_ERRORS]]


def _scenario_error(details: ErrorDetails, source: ScenarioSource, above: Loc) -> ScenarioError:
    loc = (*above, *details["loc"])
    if details["type"] == "contradiction":
        loc = (*loc, details["ctx"]["key"])
    is_key = bool(loc) and loc[-1] == "[key]"
    if is_key:
        loc = loc[:-1]
    elif details["type"] == "finite_number":
        # Inside free arguments pydantic names the types that it went through, too.
        loc = source.held(loc)
    problem = _problem(details, loc)
    return source.error(loc, problem.message, fix=problem.fix, on_key=problem.on_key or is_key)


def _problem(details: ErrorDetails, loc: Loc) -> Problem:
    if details["type"] == "extra_forbidden":
        return _unknown_key(str(loc[-1]), loc[:-1])
    if details["type"] == "contradiction":
        return Problem(details["msg"], details["ctx"]["fix"], details["ctx"]["on_key"])
    if details["type"] == "missing":
        holder = f"`{dotted(loc[:-1])}`" if loc[:-1] else "the scenario"
        return Problem(f"{holder} lacks the key `{loc[-1]}`", f"add `{loc[-1]}: ...`")
    return _bad_value(details, loc)


def _bad_value(details: ErrorDetails, loc: Loc) -> Problem:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    where = f"`{dotted(loc)}`" if loc else "the scenario"
    if kind == "literal_error":
        return _not_allowed(where, value, str(context["expected"]))
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = f"{words} {context[name]:g}"
        return Problem(f"{where} must be {limit}, found {describe(value)}", f"write a number {limit}")
    if kind in _EXPECTED:
        return _wrong_type(where, value, kind, loc)
    if kind in {"string_pattern_mismatch", "string_too_long"}:
        return _bad_name(str(value))
    if kind in _LENGTHS:
        words, fix = _LENGTHS[kind]
        return Problem(f"{where} {words}", fix)
    return Problem(f"{where}: {shortened(details['msg'], _LONGEST_MESSAGE)}", context.get("fix"))


def _unknown_key(key: str, parent: Loc) -> Problem:
    section = section_at(parent)
    known = list(section.model_fields) if section else []
    elsewhere = sorted((level.path for level in levels() if key in level.section.model_fields), key=len)
    message = f"unknown key `{shortened(key)}` {_inside(parent)}"
    close = nearest(key, known)
    if key in _BEFORE:
        fix = _BEFORE[key]
    elif close and (_similarity(key, close) >= SURELY_MEANT or not elsewhere):
        fix = f"did you mean `{close}`?"
    elif elsewhere:
        fix = f"`{key}` belongs to " + " or ".join(_level(path) for path in elsewhere[:3])
    else:
        fix = "the keys here are: " + ", ".join(known)
    return Problem(message, fix, on_key=True)


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _inside(loc: Loc) -> str:
    return f"in `{dotted(loc)}`" if loc else "at the top level"


def _level(path: Sequence[str | int]) -> str:
    return f"`{dotted(tuple(path))}`" if path else "the top level"


def _not_allowed(where: str, value: Any, expected: str) -> Problem:
    allowed = re.findall(r"'([^']*)'", expected) or [expected]
    guess = nearest(value, allowed) if isinstance(value, str) else None
    choice = ", ".join(f"`{name}`" for name in allowed)
    words = f"one of {choice}" if len(allowed) > 1 else choice
    fix = f"did you mean `{guess}`?" if guess else f"write {words}"
    return Problem(f"{where} must be {words}, found {describe(value)}", fix)


def _wrong_type(where: str, value: Any, kind: str, loc: Loc) -> Problem:
    expected = _EXPECTED[kind]
    message = f"{where} must be {expected}, found {describe(value)}"
    return Problem(message, _type_fix(value, expected, loc))


def _type_fix(value: Any, expected: str, loc: Loc) -> str:
    if expected == "true or false" and isinstance(value, str):
        meant = {"on": "true", "yes": "true", "true": "true", "off": "false", "no": "false", "false": "false"}
        return f"write `{meant[value.lower()]}`" if value.lower() in meant else "write `true` or `false`"
    if expected in {"an integer", "a number"} and isinstance(value, str) and _is_number(value):
        return f"write it without quotes: {shortened(value)}"
    if expected == "a text" and isinstance(value, (bool, int, float)):
        return f'write it in quotes: "{json.dumps(value)}"'
    section = section_at(loc)
    if section is not None:
        return "write its keys on lines of their own, indented: " + ", ".join(section.model_fields)
    return f"write {expected}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bad_name(name: str) -> Problem:
    rule = f"lower-case letters, digits, `_`, `.` and `-`, at most {NAME_MAX_LENGTH}, `.` and `-` not at the ends"
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name[: 2 * NAME_MAX_LENGTH].lower())[:NAME_MAX_LENGTH].strip(".-")
    return Problem(
        f"`{shortened(name)}` is not a usable name: {rule}", f"write `{plain}`" if plain else "choose another name"
    )


def describe(value: Any) -> str:
    """A value as it is called in a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return f"the text `{shortened(value)}`"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else str(value)
