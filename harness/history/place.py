"""Where the history lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from harness.paths import expanded

HISTORY_VARIABLE: Final = "HARNESS_HISTORY"
"""Environment variable that names the database file."""
DEFAULT: Final = Path("reports") / "history.sqlite"
"""Beside the reports of the project, so that one folder holds all that a nightly job keeps."""


def history_path(project_root: Path | None = None, given: Path | None = None) -> Path:
    """The file that the user names, else `$HARNESS_HISTORY`, else `reports/history.sqlite` of the project."""
    if given is not None:
        return given
    named = os.environ.get(HISTORY_VARIABLE)
    return expanded(named) if named else (project_root or Path.cwd()) / DEFAULT
