"""What the commands have in common when they print tables and write files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.report.tables import Table

_LOG_WIDTH = 160
"""Columns of tables that are not printed to a terminal."""


def print_tables(tables: Iterable[Table | None]) -> None:
    """Print tables as a report has them; None is left out."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    for content in tables:
        if content is None:
            continue
        table = RichTable(title=content.caption, title_justify="left", box=None)
        for index, heading in enumerate(content.headings):
            table.add_column(heading, justify="right" if index in content.numeric else "left", overflow="fold")
        for row in content.rows:
            table.add_row(*row)
        console.print(table, "")


def output_width() -> int:
    """Columns for sentences: those of the terminal from 60 to 100, and 80 where there is none."""
    return min(100, max(60, shutil.get_terminal_size((80, 24)).columns)) if sys.stdout.isatty() else 80


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it; UsageError when that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", fix="choose another file") from None
