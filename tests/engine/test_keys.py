import enum
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from harness.engine.keys import canonical_json, digest

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


class Calibrator(enum.Enum):
    MAX = "max"


class Inner(BaseModel):
    rate: float


class OtherInner(BaseModel):
    rate: float


class Config(BaseModel):
    inner: Inner | OtherInner
    names: frozenset[str] = frozenset()
    path: Path = Field(default=Path("a"), exclude=True)


@dataclass(frozen=True)
class Recipe:
    epochs: int


class TestCanonicalJson:
    @given(json_values)
    def test_holds_all_of_the_value_so_different_values_differ(self, value: object) -> None:
        assert json.loads(canonical_json(value)) == value

    @given(st.dictionaries(st.text(), json_values))
    def test_order_of_a_mapping_does_not_matter(self, value: dict[str, object]) -> None:
        assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)

    @given(st.lists(st.text() | st.integers(), unique=True))
    def test_order_of_a_set_does_not_matter(self, values: list[object]) -> None:
        assert canonical_json(set(values)) == canonical_json(sorted(values, key=canonical_json))

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_equal_models_have_equal_text(self, rate: float) -> None:
        again = float(repr(rate))
        assert canonical_json(Inner(rate=rate)) == canonical_json(Inner(rate=again))

    def test_is_one_fixed_text(self) -> None:
        assert canonical_json({"b": [1, 0.1, True, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,0.1,true,null]}'

    def test_negative_zero_equals_zero(self) -> None:
        assert canonical_json(-0.0) == canonical_json(0.0) == "0.0"

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_refuses_what_json_cannot_hold(self, value: float) -> None:
        with pytest.raises(ValueError, match="cannot be part"):
            canonical_json({"rate": value})

    def test_classes_with_equal_fields_differ(self) -> None:
        assert digest(Config(inner=Inner(rate=1))) != digest(Config(inner=OtherInner(rate=1)))

    def test_an_excluded_field_stays_out(self) -> None:
        assert digest(Config(inner=Inner(rate=1), path=Path("here"))) == digest(
            Config(inner=Inner(rate=1), path=Path("there"))
        )

    def test_enums_paths_and_dataclasses(self) -> None:
        text = canonical_json([Calibrator.MAX, PurePosixPath("a/b"), Recipe(epochs=3)])
        assert text == '["max","a/b",{"":"Recipe","epochs":3}]'

    @pytest.mark.parametrize("value", [b"bytes", object(), {1: "one"}])
    def test_refuses_types_without_one_form(self, value: object) -> None:
        with pytest.raises(TypeError):
            canonical_json(value)
