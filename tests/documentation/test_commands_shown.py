"""Every `harness` command in a code block of the documents is one that the command line takes, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import typer

from harness.cli.commands import app

REPOSITORY = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(?:bash|sh|shell|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:^|[;&|]\s*|\bexec )(?:\S*/)?harness (?=[a-z-])(?P<rest>[^;&|<>#]*)")
_SHOWN_PLACES = re.compile(r"\.\.\.|…|[A-Z]{2,}")
"""Where a reader fills something in."""


class Shown(NamedTuple):
    """One command line of a page."""

    page: str
    line: str


def shown() -> Iterator[Shown]:
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    for page in (each for each in pages if "_build" not in each.parts):
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for found in _COMMAND.finditer(line.removeprefix("$ ")):
                    yield Shown(str(page.relative_to(REPOSITORY)), found["rest"].strip())


def unknown(line: str, command: Any) -> list[str]:
    """What of a command line the command does not know: the command itself, options, values of choices."""
    words = shlex.split(line)
    while words and isinstance(command, click.Group | typer.core.TyperGroup):
        if words[0].startswith("-"):
            break
        if words[0] in command.commands:
            command = command.commands[words.pop(0)]
        elif "show" in command.commands:  # `harness history SCENARIO` is `harness history show SCENARIO`
            command = command.commands["show"]
        else:
            return [words[0]]
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    return [word for word in words if word.startswith("-") and word.split("=")[0] not in names]


ALL = list(shown())


@pytest.mark.parametrize("each", ALL, ids=lambda each: f"{each.page}: {each.line}"[:100])
def test_the_command_exists_with_its_options(each: Shown) -> None:
    assert unknown(each.line, typer.main.get_command(app)) == []


@pytest.mark.parametrize("each", ALL, ids=lambda each: f"{each.page}: {each.line}"[:100])
def test_scenarios_of_the_repository_exist(each: Shown) -> None:
    named = [word for word in shlex.split(each.line) if word.startswith("scenarios/") and word.endswith(".yaml")]
    own = {"scenarios/my_network.yaml", "scenarios/fruit.yaml", "scenarios/nightly.yaml"}
    assert [
        word
        for word in named
        if word not in own and not _SHOWN_PLACES.search(word) and not (REPOSITORY / word).is_file()
    ] == []


def test_there_are_many_and_wrong_ones_are_found() -> None:
    command = typer.main.get_command(app)
    assert len(ALL) > 40
    assert unknown("runn scenarios/quickstart.yaml", command) == ["runn"]
    assert unknown("run scenarios/quickstart.yaml --fast", command) == ["--fast"]
    assert unknown("history export --csvv x", command) == ["--csvv"]
