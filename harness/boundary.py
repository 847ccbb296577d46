"""The outermost layer of the command line: whatever happens becomes one message and an exit code that means it.

Exit code 1 says that a gate is broken or a regression proven, and nothing else; so Python's own 1 for an uncaught
exception must never get out.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from harness.errors import EXIT_INTERRUPTED, EXIT_SOFTWARE, EXIT_TERMINATED, EXIT_USAGE, HarnessError

DEBUG_VARIABLE = "HARNESS_DEBUG"
"""Set to show tracebacks on the terminal."""
_PLAIN = "quant-harness-plain"
"""Name of the handler for characters that the terminal cannot show."""
_PLAIN_TEXTS = {
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MICRO SIGN}": "u",
    "\N{MIDDLE DOT}": ".",
    "\N{BULLET}": "*",
    "\N{BLACK CIRCLE}": "*",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{NO-BREAK SPACE}": " ",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{ALMOST EQUAL TO}": "~",
}
_OF_THE_MACHINE = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "check the rights of the file and of the folders above it",
    errno.EPERM: "check the rights of the file and of the folders above it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "correct the links on the way to it",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "check the path",
    errno.EIO: "check the disk",
    errno.EMFILE: "close other programs, or raise `ulimit -n`",
    errno.ENFILE: "close other programs",
    errno.EFBIG: "choose another file",
}
"""Errors of the operating system that say something about files and not about the harness; what to do about each."""


_INTERRUPTED = "interrupted; finished stages are kept: the same command goes on from there"


class Terminated(BaseException):
    """The process was asked to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_guarded(command: Callable[[], object]) -> int:
    """Run a command; its exit code, with one message on stderr where it did not end by itself.

    What it returns counts as its exit code where that is a number.
    """
    with _forgiving_streams(), _ending_in_order():
        code = _run(command)
        return _flushed(code)


def unforeseen(error: BaseException) -> str:
    """The message of an internal error; its traceback goes into a log file."""
    summary = " ".join(str(error).split())[:300]
    what = f"{type(error).__name__}: {summary}" if summary else type(error).__name__
    log = write_log(error)
    where = "no log could be written" if log is None else f"log: {log}"
    return (
        f"unexpected error: {what}\n  {where}\n"
        "  report it: this is a fault of the harness; send the log and the command to its maintainers"
    )


def write_log(error: BaseException) -> Path | None:
    """Write the traceback and what ran it into the user's state folder, else a temporary one; None if neither works."""
    name = f"error-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    for folder in _log_folders():
        with suppress(Exception):  # whatever goes wrong here, the message about the first error must get out
            text = _log_text(error)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return path
    return None


def _run(command: Callable[[], object]) -> int:
    try:
        found = command()
    except HarnessError as error:
        _debug(error)
        return _said(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _said(_INTERRUPTED, EXIT_INTERRUPTED)
    except Terminated as error:
        name = signal.Signals(error.number).name
        message = f"ended by {name}; finished stages are kept: the same command goes on from there"
        return _said(message, EXIT_TERMINATED - signal.SIGTERM + error.number)
    except BaseException as error:
        return _of_libraries(error)
    if found == EXIT_INTERRUPTED:  # the command-line library turns the exception into a number
        return _said(_INTERRUPTED, EXIT_INTERRUPTED)
    return found if isinstance(found, int) else 0


def _of_libraries(error: BaseException) -> int:
    """What the command-line library, the operating system or an import raised; the rest is unforeseen."""
    if type(error).__name__ == "Abort":
        return _said(_INTERRUPTED, EXIT_INTERRUPTED)
    if hasattr(error, "format_message") and hasattr(error, "show"):  # click's, wherever typer has it from
        error.show()
        return EXIT_USAGE
    _debug(error)
    if isinstance(error, OSError) and (message := _os_message(error)) is not None:
        return _said(message, EXIT_USAGE)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in {"", "harness"}:
        library = str(error.name).partition(".")[0]
        fix = f"install it again: pip install --force-reinstall {library}"
        return _said(f"the library `{library}` cannot be imported: {error}\n  fix: {fix}", EXIT_USAGE)
    return _said(unforeseen(error), EXIT_SOFTWARE)


def _os_message(error: OSError) -> str | None:
    fix = _OF_THE_MACHINE.get(error.errno or 0)
    if fix is not None:
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{place}{error.strerror}\n  fix: {fix}"
    if error.errno == errno.ENOENT and not _has_working_directory():
        return "the working directory does not exist any more\n  fix: change into another one"
    return None


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _said(message: str, code: int) -> int:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"harness: {message}\n")
    return code


def _debug(error: BaseException) -> None:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)


def _log_text(error: BaseException) -> str:
    from harness.version import __version__

    try:
        folder = str(Path.cwd())
    except OSError as gone:
        folder = str(gone)
    lines = [
        f"harness {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"command: {sys.argv!r}",
        f"folder: {folder}",
        "",
        *traceback.format_exception(error),
    ]
    return "\n".join(lines)


def _log_folders() -> Iterator[Path]:
    from harness.paths import user_folder

    own = user_folder("state")
    if own is not None:
        yield own / "logs"
    with suppress(OSError):  # no usable temporary folder either
        yield Path(tempfile.gettempdir())


class _PipeThatMayClose(io.FileIO):
    """The end of an output that others may close (`harness list | head`) or that may be full.

    What is written then is dropped: it must not change what the exit code says.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:  # as FileIO declares it
        """Write, or pretend to."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.failure = self.failure or error
            return len(memoryview(data).cast("B"))


@contextmanager
def _forgiving_streams() -> Iterator[None]:
    """Output that drops what cannot be written and replaces what cannot be shown, instead of raising."""
    codecs.register_error(_PLAIN, _plain_text)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_forgiving, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _forgiving(stream: Any) -> Any:
    """The same stream with a forgiving end; one that is not a file is left as it is."""
    if stream is None:  # closed by whoever started us: `>&-`
        return io.StringIO()
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer between
    if type(stream) is not io.TextIOWrapper or not isinstance(raw, io.FileIO):
        return stream
    with suppress(OSError, ValueError):
        stream.flush()
    end = _PipeThatMayClose(raw.fileno(), "wb", closefd=False)
    line_buffering = stream.line_buffering or end.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(end), encoding=stream.encoding, errors=_PLAIN, line_buffering=line_buffering
    )


def _plain_text(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    return "".join(_PLAIN_TEXTS.get(character, "?") for character in found), error.end


def _flushed(code: int) -> int:
    """The exit code once everything is written; a full disk behind the output is bad usage, where nothing is worse."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    failure = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "failure", None)
    if failure is None:
        return code
    said = _said(f"the output cannot be written: {failure.strerror}", code or EXIT_USAGE)
    sys.stderr.flush()
    return said


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP as exceptions, so that workers are ended and folders tidied up."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {}
    with suppress(ValueError):  # not in the main thread
        before = {number: signal.signal(number, _terminate) for number in numbers if _is_default(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_default(number: signal.Signals) -> bool:
    """`nohup` ignores SIGHUP, and that is to stay."""
    return signal.getsignal(number) == signal.SIG_DFL


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)
