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
import shlex
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from harness.engine.process_tree import MARK_VARIABLE, kill_marked
from harness.errors import EXIT_INTERRUPTED, EXIT_SOFTWARE, EXIT_TERMINATED, EXIT_USAGE, HarnessError
from harness.text import visible

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


_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"
"""The line that showed the progress goes, and the cursor that it hid comes back."""
_ENDED_AT_ONCE = _SHOW_CURSOR + b"harness: ended at once; finished stages are kept\n"


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
        return _interrupted("interrupted", EXIT_INTERRUPTED)
    except Terminated as error:
        name = signal.Signals(error.number).name
        return _interrupted(f"ended by {name}", EXIT_TERMINATED - signal.SIGTERM + error.number)
    except BaseException as error:
        return _of_libraries(error)
    if found == EXIT_INTERRUPTED:  # the command-line library turns the exception into a number
        return _interrupted("interrupted", EXIT_INTERRUPTED)
    return found if isinstance(found, int) else 0


def _interrupted(how: str, code: int) -> int:
    """What the user has after a run was ended, and the command that goes on from there."""
    name = Path(sys.argv[0]).name
    command = shlex.join([*(["python", "-m", "harness"] if name == "__main__.py" else [name]), *sys.argv[1:]])
    return _said(f"{how}; finished stages are kept, and the same command goes on from there:\n  {command}", code)


def _of_libraries(error: BaseException) -> int:
    """What the command-line library, the operating system or an import raised; the rest is unforeseen."""
    if type(error).__name__ == "Abort":
        return _interrupted("interrupted", EXIT_INTERRUPTED)
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
        sys.stderr.write(f"harness: {visible(message)}\n")
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
    """Signals as exceptions, so that workers are ended and folders tidied up; a second Ctrl-C does not wait for that.

    All processes that this one starts carry its mark, so that none is left behind then.
    """
    outer = os.environ.get(MARK_VARIABLE)
    mark = "/".join(filter(None, (outer, uuid.uuid4().hex)))
    os.environ[MARK_VARIABLE] = mark
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], object]] = {
        signal.SIGTERM: _terminate,
        signal.SIGHUP: _terminate,
        signal.SIGINT: _Interrupt(mark),
    }
    before: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # not in the main thread
        before = {number: signal.signal(number, each) for number, each in handlers.items() if _is_default(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if outer is None:
            os.environ.pop(MARK_VARIABLE, None)
        else:
            os.environ[MARK_VARIABLE] = outer


def _is_default(number: signal.Signals) -> bool:
    """`nohup` ignores SIGHUP, and that is to stay."""
    return signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


class _Interrupt:
    """Ctrl-C as an exception, and the second one as the end of this process and of all that it started."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._is_ending = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if not self._is_ending:
            self._is_ending = True
            signal.default_int_handler(number, frame)
        with suppress(OSError):
            os.write(2, _ENDED_AT_ONCE if os.isatty(2) else _ENDED_AT_ONCE.removeprefix(_SHOW_CURSOR))
        kill_marked(self._mark)
        os._exit(EXIT_INTERRUPTED)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)
