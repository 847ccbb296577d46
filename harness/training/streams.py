"""The standard streams, kept open while code of the user runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


@contextmanager
def streams_kept() -> Iterator[None]:
    """Open again at the end what code inside has closed: libraries print, and fail where they cannot."""
    copies = dict(_copies())
    try:
        yield
    finally:
        for number, copy in copies.items():
            if not _is_open(number):
                with suppress(OSError):
                    os.dup2(copy, number)
            with suppress(OSError):
                os.close(copy)
        for number, name in _NAMES.items():
            if number in copies and getattr(getattr(sys, name), "closed", False):
                setattr(sys, name, open(number, "r" if number == 0 else "w", buffering=1, closefd=False))  # noqa: SIM115


def _copies() -> Iterator[tuple[int, int]]:
    for number in _NAMES:
        with suppress(OSError):  # a process may be started without a stream
            yield number, os.dup(number)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
