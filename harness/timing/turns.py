"""Whose turn it is in a timing process, so that its parent can tell which engine ended it."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

TURN = "turn.bin"
"""File beside the result of the process."""
_BYTES = 4


class Turns:
    """Writes the number of the session that runs next into a file that outlives the process.

    The file is mapped into memory: a store there takes some 100 ns and no system call, and no crash can lose it.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        path.write_bytes(bytes(_BYTES))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _BYTES)
        self._numbers = {name: number.to_bytes(_BYTES, "little") for number, name in enumerate(names, start=1)}

    def begin(self, name: str) -> None:
        """It is the turn of this session from now on."""
        self._map[:] = self._numbers[name]


def last_turn(path: Path, names: Sequence[str]) -> str | None:
    """The session whose turn it was when the process ended; None when none had begun."""
    try:
        number = int.from_bytes(path.read_bytes()[:_BYTES], "little")
    except OSError:
        return None
    return names[number - 1] if 0 < number <= len(names) else None
