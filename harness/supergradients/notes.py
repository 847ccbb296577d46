"""Lines that verbose Python interfaces print."""

from __future__ import annotations

import sys


def note(line: str) -> None:
    """Print one line on stderr, where it does not mix with a program's output."""
    sys.stderr.write(f"{line}\n")
