"""The command `harness init`: a starter project."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import say
from harness.errors import EXIT_OK, EXIT_USAGE, UsageError

_LOCAL = "file:"


def init(
    directory: Annotated[Path, typer.Argument(help="Folder of the project. Default: this one.")] = Path(),
    requirement: Annotated[
        str | None,
        typer.Option(
            help="How pip finds this package on another machine, for instance `quant-harness[pytest] @ git+URL@TAG`. "
            "Default: as it was installed here."
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Write what is missing into a project that has some of the files.")
    ] = False,
) -> None:
    """Write a starter project: a network, a scenario with gates, pytest, tox, GitHub workflows.

    No file that exists is ever changed. Where there are some, they are listed and nothing is written (exit code 2),
    unless --add says that the others are wanted.
    """
    from harness.starter.write import installed_requirement, starter_files, write_starter

    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file", fix="name a folder")
    line = requirement or installed_requirement()
    if "\n" in line:
        raise UsageError("--requirement is more than one line", fix="give one line of a requirements.txt")
    there = [path for path, _ in starter_files(line, directory.resolve().name) if (directory / path).exists()]
    if there and not add:
        for path in there:
            say(f"exists: {directory / path}", err=True)
        say("nothing written\n  fix: choose another folder, or `--add` to write only what is missing", err=True)
        raise typer.Exit(EXIT_USAGE)
    written = write_starter(directory, line)
    for path in written.new:
        say(f"written: {path}")
    for path in written.kept:
        say(f"kept: {path}")
    for path, text in written.incomplete:
        say(f"\nadd to {path}, as pytest and the workflows rely on it:")
        say(textwrap.indent(text, "    "), nl=False)
    say(f"\nrequirements.txt installs `{line}`")
    if f"@ {_LOCAL}" in line:
        say("that is a place on this machine: name a repository or a version there before other machines use it")
    say(f"next: cd {directory} && pytest")
    raise typer.Exit(EXIT_OK)
