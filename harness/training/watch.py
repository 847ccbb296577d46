"""Watching which files this process reads, through Python's audit events and the readers that raise none."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors.numpy
import safetensors.torch
import torch

from harness.training.user_files import is_users, source_of_cache

_READERS: tuple[tuple[Any, str], ...] = (
    (safetensors, "safe_open"),
    (safetensors.torch, "safe_open"),
    (safetensors.numpy, "safe_open"),
    (torch, "from_file"),
    (torch.UntypedStorage, "from_file"),
    (torch._C, "PyTorchFileReader"),
    (torch._C, "import_ir_module"),
)
"""Owners and names of functions and classes that open files natively."""


@dataclass
class FileAccessLog:
    """The user's files that were opened, by absolute path."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    _others: frozenset[int | None] = frozenset()
    """Threads that ran before and do something else."""

    def note(self, path: object, *, reads: bool) -> None:
        """Note a file, unless it is not the user's, or a library opens it while it is being imported."""
        if not isinstance(path, str | bytes | os.PathLike) or threading.get_native_id() in self._others:
            return
        name = source_of_cache(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100  # links stay
        if is_users(name) and (name.endswith(".py") or not _in_import_of_library(sys._getframe(2))):
            (self.read if reads else self.written).add(name)


@contextmanager
def watched() -> Iterator[FileAccessLog]:
    """Record what is opened inside the block, in this thread and those that it starts."""
    _install_hook()
    # By the system's number: Python gives the `ident` of a thread that ended to the next one that starts.
    others = frozenset(each.native_id for each in threading.enumerate()) - {threading.get_native_id()}
    watch = FileAccessLog(_others=others)
    _active.append(watch)
    try:
        with _readers_noted(watch):
            yield watch
    finally:
        _active.remove(watch)


_active: list[FileAccessLog] = []


@functools.cache
def _install_hook() -> None:
    sys.addaudithook(_hook)  # cannot be removed again


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _active or event not in _EVENTS:
        return
    with suppress(Exception):  # watching must not break what is watched
        path, reads = _EVENTS[event](args)
        for watch in _active:
            watch.note(path, reads=reads)


def _opened(args: tuple[Any, ...]) -> tuple[object, bool]:
    flags = args[2] if isinstance(args[2], int) else 0
    access = flags & os.O_ACCMODE
    return args[0], access == os.O_RDONLY or (access == os.O_RDWR and not flags & (os.O_TRUNC | os.O_APPEND))


_EVENTS: dict[str, Callable[[tuple[Any, ...]], tuple[object, bool]]] = {
    "open": _opened,
    "import": lambda args: (args[1], True),  # the file of a compiled module
    "ctypes.dlopen": lambda args: (args[0], True),
    "sqlite3.connect": lambda args: (args[0], True),
}


def _in_import_of_library(frame: FrameType | None) -> bool:
    """Whether an installed module is being imported, such as one that reads its own settings or caches then."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(os.sep) and is_users(path):
            return False
        if frame.f_code.co_name == "<module>" and path.startswith(os.sep):
            return True
        frame = frame.f_back
    return False


@contextmanager
def _readers_noted(watch: FileAccessLog) -> Iterator[None]:
    own = [(owner, name, vars(owner).get(name)) for owner, name in _READERS if hasattr(owner, name)]
    for owner, name, _ in own:
        setattr(owner, name, _noting(getattr(owner, name), watch))
    try:
        yield
    finally:
        for owner, name, original in own:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def _noting(reader: Callable[..., Any], watch: FileAccessLog) -> Callable[..., Any]:
    def noted(*args: Any, **keywords: Any) -> Any:
        for value in (*args, *keywords.values()):
            if isinstance(value, str | os.PathLike) and Path(value).is_file():
                watch.note(value, reads=True)
        return reader(*args, **keywords)

    return noted
