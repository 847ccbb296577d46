"""Errors that a user can act on: what happened, where, and how to fix it.

The command line prints them without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable
from pathlib import Path

EXIT_OK = 0
EXIT_GATE_FAILED = 1
EXIT_USAGE = 2
EXIT_VARIANT_FAILED = 3
EXIT_INCONCLUSIVE = 4
EXIT_SOFTWARE = 70
"""An internal error (`EX_SOFTWARE` of sysexits.h): a fault of the harness."""
EXIT_INTERRUPTED = 130
"""As shells say it of Ctrl-C: 128 + SIGINT."""
EXIT_TERMINATED = 143
"""128 + SIGTERM; other signals likewise."""
_BY_GRAVITY = (EXIT_GATE_FAILED, EXIT_USAGE, EXIT_VARIANT_FAILED, EXIT_INCONCLUSIVE, EXIT_OK)
"""What is proven says more than what is missing, and that more than what is undecided."""


_LONGEST_NAME = 200
"""Characters; no name of anything is longer."""
_MESSAGE_CHARACTERS = 1_000


def most_severe(exit_codes: Iterable[int]) -> int:
    """The exit code of several outcomes: a proven breach, then failures, then what is undecided."""
    return min([*exit_codes, EXIT_OK], key=_BY_GRAVITY.index)


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose.

    `message` says what is wrong, `fix` what to do about it.
    """

    exit_code = EXIT_VARIANT_FAILED

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return self.message if self.fix is None else f"{self.message}\n  fix: {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword arguments would be lost by the default.
        return _rebuild, (type(self), self.__dict__ | {"message": self.message})


def _rebuild(kind: type[HarnessError], state: dict[str, object]) -> HarnessError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class UsageError(HarnessError):
    """Bad input or usage: nothing was started."""

    exit_code = EXIT_USAGE


class ScenarioError(UsageError):
    """A scenario file that cannot be used, with the place in the file."""

    def __init__(
        self,
        message: str,
        *,
        path: Path | str,
        line: int | None = None,
        column: int | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, fix=fix)
        self.path = Path(path)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        return f"{place}: {super().__str__()}"


class DataError(UsageError):
    """A data set that is missing, damaged or too small for what was asked."""


class ModelError(UsageError):
    """A model factory that cannot be found or does not build a usable network."""


class StageError(HarnessError):
    """A stage of one variant failed; the other variants go on."""


class Undeployable(HarnessError):
    """A quantization that the target has no number format or kernel for."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest in spelling to `name`, or None when none is close."""
    if len(name) > _LONGEST_NAME:  # comparing takes time with the square of the length
        return None
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def unknown_name(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """Message and fix for a name that is not one of `known`."""
    names = sorted(known)
    guess = nearest(name, names)
    fix = f"did you mean `{guess}`?" if guess else "use one of: " + ", ".join(names)
    return f"unknown {what} `{shortened(name)}`", fix


def shortened(text: str, at_most: int = 80) -> str:
    """A text as a message shows it: its beginning, where it is long."""
    return text if len(text) <= at_most else f"{text[:at_most]}…"


def is_interrupt(error: BaseException) -> bool:
    """Whether it is the user's Ctrl-C; workers ignore that, so that theirs was raised by the code that runs."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def message_of(error: BaseException) -> str:
    """First lines of an exception's message; it may be megabytes long, or fail to be made."""
    try:
        text = str(error).strip()
    except BaseException as broken:  # whatever its `__str__` raises
        return f"(its message cannot be shown: `__str__` raised {type(broken).__name__})"
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]} ... ({len(text):,} characters)"
