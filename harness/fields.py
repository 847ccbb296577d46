"""Base class and field types that the sections of a scenario file share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

NAME_PATTERN = r"^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$"
NAME_MAX_LENGTH = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """Unit of a number, printed by the reference page."""

    name: str


@dataclass(frozen=True)
class OneOf:
    """One of the names that `names` lists when a value is read; wrong names are reported like those of a `Literal`."""

    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names())}

    def _check(self, value: Any) -> Any:
        names = self.names()
        if value not in names:
            raise PydanticKnownError("literal_error", {"expected": ", ".join(f"'{name}'" for name in names)})
        return value


class Section(BaseModel):
    """Base of every level of a scenario file: immutable, strictly typed, unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_default(cls, data: Any) -> Any:
        # A key whose children are all commented out reads as null.
        return {} if data is None else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        inner = handler.resolve_ref_schema(found)
        if "required" not in inner and "type" in inner:
            inner["type"] = [inner["type"], "null"]
        return found


def contradiction(message: str, fix: str, *, key: str, on_key: bool = False) -> PydanticCustomError:
    """An error to raise in a validator of a section whose keys contradict each other; it is told at `key`."""
    context = {"message": message, "fix": fix, "key": key, "on_key": on_key}
    return PydanticCustomError("contradiction", "{message}", context)


def _listed(value: Any) -> Any:
    """A scalar is read as a list of one, nothing as an empty list."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


class _AsList:
    """In the JSON schema: what `_listed` takes."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        return {"anyOf": [found["items"], found, {"type": "null"}]} if "items" in found else found


class _AsMapping:
    """In the JSON schema: what `mapping` takes."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def mapping(value: Any) -> Any:
    """Nothing is read as an empty mapping."""
    return {} if value is None else value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=NAME_MAX_LENGTH)]
"""Lower-case letters, digits, `_`, `.` and `-`: safe as a folder name on every file system."""

Text = Annotated[str, StringConstraints(min_length=1)]
Listed = Annotated[tuple[T, ...], BeforeValidator(_listed), _AsList()]
ByName = Annotated[dict[Name, T], BeforeValidator(mapping), _AsMapping()]
FreeMapping = Annotated[dict[str, JsonValue], BeforeValidator(mapping), _AsMapping()]

Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Bits = Annotated[int, Ge(2), Le(8), Unit("bit")]
ActivationWidth = Literal[2, 3, 4, 5, 6, 7, 8, 16]
ActivationBits = Annotated[ActivationWidth, Unit("bit")]
Percent = Annotated[float, Gt(0), Le(100), Unit("%")]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Ratio = Annotated[float, Gt(0), Le(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]
Confidence = Annotated[float, Gt(0.5), Lt(1)]
