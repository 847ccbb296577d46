"""Files that are not one sound YAML document, each refused at its place; and what plain values mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import EXIT_USAGE, ScenarioError
from harness.scenario import load_scenario
from harness.scenario.reader import MAX_DEPTH, MAX_NODES, mark_at, read_yaml
from harness.scenario.source import Mark


def read(text: str) -> Any:
    return read_yaml(text, Path("s.yaml"), Path())[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("True", True),
        ("false", False),
        ("", None),
        ("~", None),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e-3", 0.001),
        ("-.inf", float("-inf")),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'8'", "8"),
        ("!!str 8", "8"),
        ("[1, [a]]", [1, ["a"]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert read(f"key: {text}") == {"key": value}


def test_an_alias_repeats_its_anchor() -> None:
    assert read("a: &x {k: 1}\nb: *x\n") == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("marked", "words"),
    [
        ("§", "empty"),
        ("§# only a comment\n", "empty"),
        ("name: §[1\n", "never ends"),
        ('name: §"open\n', "never ends"),
        ("§\tname: a\n", "a tab"),
        ("name:\n§\t- a\n", "a tab"),
        ("name: a§: b\n", "mapping values are not allowed here"),
        ("name: a\n§---\nname: b\n", "one document"),
        ("name: §*nothing\n", "undefined alias"),
        ("name: §@a\n", "cannot start any token"),
        ("name: §\x07\n", "U+0007"),
        ("name: §!!python/object:os.system x\n", "tag `!!python/object:os.system` is not allowed"),
        ("name: §!thing {}\n", "tag `!thing` is not allowed"),
        ("name: §!!int many\n", "not a usable int"),
        ("name: §&x [*x]\n", "alias of itself"),
        ("? §[a]\n: b\n", "a key must be a text"),
        ("§<<: {}\n", "merge keys"),
        ("[" * 65 + "§" + "[" * 535, "nested more than 64 deep"),
    ],
)
def test_unsound_yaml_is_refused_at_its_place(refuse: Any, marked: str, words: str) -> None:
    error = refuse(marked)
    assert words in error.message
    assert error.exit_code == EXIT_USAGE


def test_deep_nesting_is_refused_where_it_passes_the_limit(refuse: Any) -> None:
    # Each bracket is one level, below the level of the key.
    error = refuse("a: " + "[" * MAX_DEPTH + "§[" + "]" * MAX_DEPTH + "]\n")
    assert error.message == f"values are nested more than {MAX_DEPTH} deep"


def test_a_key_given_twice_names_both_lines(refuse: Any) -> None:
    error = refuse("models:\n  r: {a: 1}\n  §r: {a: 2}\n")
    assert error.message == "key `r` is given twice, first on line 2"
    assert error.fix == "delete one of them"


def test_all_repeated_keys_are_told_at_once(refuse: Any) -> None:
    error = refuse("a: 1\n§a: 2\nb: 1\nb: 2\n")
    assert f"{error.path}:2:1: key `a`" in str(error)
    assert f"{error.path}:4:1: key `b`" in str(error)


def test_aliases_cannot_multiply_without_bounds() -> None:
    # Seven levels of ten aliases each: 10^7 values from a few lines.
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 7)]
    with pytest.raises(ScenarioError, match=f"more than {MAX_NODES} values"):
        read("\n".join(lines))


def test_bytes_that_are_not_utf8_are_refused_at_their_place(project: Path) -> None:
    path = project / "scenarios" / "s.yaml"
    path.write_bytes("name: a\nquestion: é ".encode() + b"\xff\n")
    with pytest.raises(ScenarioError, match="0xff is not UTF-8") as caught:
        load_scenario(path)
    assert (caught.value.line, caught.value.column) == (2, len("question: é ") + 1)


def test_a_byte_order_mark_moves_no_column(project: Path) -> None:
    path = project / "scenarios" / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfnaem: a\n")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert "unknown key `naem`" in str(caught.value)
    assert (caught.value.line, caught.value.column) == (1, 1)


@pytest.mark.parametrize(("position", "mark"), [(0, Mark(1, 1)), (2, Mark(1, 3)), (3, Mark(2, 1)), (4, Mark(2, 2))])
def test_mark_at_counts_lines_and_columns_from_one(position: int, mark: Mark) -> None:
    assert mark_at("ab\ncd", position) == mark
