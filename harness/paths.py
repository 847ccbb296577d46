"""Paths that users give, and the folders of the user who runs the harness: what can be wrong with either."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from harness.errors import UsageError

_APPLICATION = "quant-harness"
LONGEST_FILE_NAME = 255
"""Bytes, of the usual file systems."""


def expanded(path: Path | str) -> Path:
    """With `~` replaced; as it is where there is no such user or no home directory."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def user_folder(kind: Literal["cache", "state"]) -> Path | None:
    """The user's own folder for caches or for logs; None for a user without a home directory."""
    from platformdirs import user_cache_dir, user_state_dir

    try:
        folder = Path((user_cache_dir if kind == "cache" else user_state_dir)(_APPLICATION))
    except (RuntimeError, KeyError):
        return None
    # Some versions then say `~/.cache/…`, which would lie below the working directory.
    return folder if folder.is_absolute() else None


def cache_or_temporary_folder() -> Path:
    """The user's folder for caches; without a home directory a folder of the same user's among the temporary ones."""
    return user_folder("cache") or Path(tempfile.gettempdir()) / f"{_APPLICATION}-{os.getuid()}"


def file_problem(path: Path) -> str | None:
    """Why a path is not a file that can be read, for instance `does not exist`; None where it is one."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "cannot be a path: it holds a NUL character"
    if stat.S_ISDIR(mode):
        return "is a folder"
    if not stat.S_ISREG(mode):
        return "is not a regular file"
    return None if os.access(path, os.R_OK) else f"cannot be read: {os.strerror(errno.EACCES)}"


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a regular file; OSError for anything else and for more than `limit` bytes. Never blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit / 2**20:g} MiB", str(path))
    return content


def replace_text(path: Path, text: str) -> None:
    """Write a whole file or leave what was there; a link at `path` is replaced and never followed. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def file_name_problem(name: str) -> str | None:
    """Why a text cannot be the name of one file inside a folder; None where it can."""
    if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
        return "is not a file name"
    if not name.isprintable():
        return "is not a file name: it holds characters that cannot be printed"
    if len(name.encode("utf-8", errors="surrogatepass")) > LONGEST_FILE_NAME:
        return f"is longer than the {LONGEST_FILE_NAME} bytes of a file name"
    return None


def require_inside(path: Path, folder: Path) -> None:
    """UsageError for a path that, links followed, does not lie in `folder`."""
    if not is_inside(path, folder):
        raise UsageError(
            f"{path} lies outside of {folder}: there is a link on the way", fix="remove the link, or name the folder"
        )


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, links followed, lies in `folder`."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):
        return False
