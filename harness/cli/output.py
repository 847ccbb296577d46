"""What the commands have in common when they print tables and write files."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.errors import UsageError
from harness.text import visible

if TYPE_CHECKING:
    from rich.console import Console

    from harness.report.tables import Table

_LOG_WIDTH = 160
"""Columns of tables that are not printed to a terminal."""
_GAP = 2
"""Columns between those of a table."""
_INDENT = 2
"""Columns that a text which goes on in the next line is set in there."""
_LEAST_TEXT = 10
"""Columns of a text in a table, however narrow the terminal is."""


def say(text: object = "", *, nl: bool = True, err: bool = False) -> None:
    """Print a text, lines and all, with characters in it that would act on a terminal as escapes."""
    typer.echo(visible(str(text)), nl=nl, err=err)


def print_tables(tables: Iterable[Table | None]) -> None:
    """Print tables as a report has them; None is left out."""
    from rich.table import Table as RichTable

    console = _console(None if sys.stdout.isatty() else _LOG_WIDTH)
    for content in tables:
        if content is None:
            continue
        table = RichTable(title=content.caption, title_justify="left", box=None)
        for index, heading in enumerate(content.headings):
            table.add_column(heading, justify="right" if index in content.numeric else "left", overflow="fold")
        for row in content.rows:
            table.add_row(*map(visible, row))
        console.print(table, "")


def _console(width: int | None) -> Console:
    """Prints text as it is, in bold at most, and not even that where `NO_COLOR` asks for plain text."""
    from rich.console import Console

    return Console(
        markup=False,
        highlight=False,
        emoji=False,
        width=width,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def output_width() -> int:
    """Columns for sentences: those of the terminal from 60 to 100, and 80 where there is none."""
    return min(100, max(60, shutil.get_terminal_size((80, 24)).columns)) if sys.stdout.isatty() else 80


def table_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Collection[int], width: int
) -> Iterator[str]:
    """A table in `width` columns; where it is wider, texts go on in the next line, at spaces if they have any.

    Those lines are set in, which tells them from rows. Rich's tables cannot do that.
    """
    from rich.cells import cell_len

    every = [tuple(headings), *map(tuple, rows)]
    widths = [max(cell_len(row[place]) for row in every) for place in range(len(headings))]
    words = [max(_longest_word(row[place]) for row in every) for place in range(len(widths))]
    least = [min(each, _LEAST_TEXT) for each in widths]
    # Spaces first; a word is broken where nothing else helps.
    for floors in ([max(pair) for pair in zip(words, least, strict=True)], least):
        while sum(widths) + _GAP * (len(widths) - 1) > width:
            able = [place for place in range(len(widths)) if place not in numeric and widths[place] > floors[place]]
            if not able:
                break
            widths[max(able, key=lambda place: widths[place])] -= 1
    for row in every:
        cells = [_wrapped(cell, widths[place]) for place, cell in enumerate(row)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = []
            for place, part in enumerate(parts):
                padding = " " * (widths[place] - cell_len(part))
                padded.append(padding + part if place in numeric else part + padding)
            yield (" " * _GAP).join(padded).rstrip()


def _longest_word(text: str) -> int:
    """Columns that a text needs if it is broken at spaces only."""
    from rich.cells import cell_len

    first, *others = text.split() or [""]
    return max(cell_len(first), *(cell_len(word) + _INDENT for word in others), 0)


def _wrapped(text: str, width: int) -> list[str]:
    """A text in lines of so many columns, the later ones set in."""
    from rich.cells import cell_len, chop_cells

    if cell_len(text) <= width:
        return [text]
    lines = textwrap.wrap(text, width, subsequent_indent=" " * _INDENT, break_on_hyphens=False)
    return [part for line in lines for part in (chop_cells(line, width) if cell_len(line) > width else [line])]


def bulleted(text: str, mark: str, width: int) -> Iterator[str]:
    """A text in lines of at most `width` columns after a mark, all set in alike.

    What has no space, such as a path, is not broken.
    """
    lines = text.splitlines() or [""]
    for number, line in enumerate(lines):
        yield from textwrap.wrap(
            line,
            width,
            initial_indent=" " * len(mark) if number else mark,
            subsequent_indent=" " * len(mark),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it; UsageError when that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", fix="choose another file") from None
