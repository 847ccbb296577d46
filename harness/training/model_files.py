"""Importing a file of the user's project without leaving traces in the process."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from harness.errors import ModelError, is_interrupt, message_of, nearest
from harness.training.user_files import is_users

PACKAGE_PREFIX = "_harness_models_"


def import_file(path: Path, package: str | None = None) -> ModuleType:
    """The module in `path`, under a private name; imported again when the file has changed.

    Its folder becomes a private package, called `package` or after the folder, so that `from .sibling import x` works;
    `from sibling import x` and `from folder.sibling import x` work too.
    Raises ModelError when there is no such file or importing it fails.
    """
    if not path.is_file():
        raise missing_file(path)
    package = package or PACKAGE_PREFIX + _digest(str(path.parent).encode())
    name = f"{package}.{path.stem}"
    try:
        content = _digest(path.read_bytes())
        loaded = sys.modules.get(name)
        if loaded is not None and getattr(loaded, "__harness_content__", None) == content:
            return loaded
        _forget(package)
        with siblings_importable(path):
            module = _import_private(path, package, name)
    except BaseException as error:  # a file may do anything when it is imported, and must not end the harness
        _forget(package)
        if is_interrupt(error):
            raise
        raise import_failure(str(path), error, _line_of(error, path)) from error
    vars(module)["__harness_content__"] = content
    return module


def _import_private(path: Path, package: str, name: str) -> ModuleType:
    parent = ModuleType(package)
    parent.__path__ = [str(path.parent)]
    sys.modules[package] = parent
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _forget(package: str) -> None:
    for name in [key for key in sys.modules if key == package or key.startswith(f"{package}.")]:
        del sys.modules[name]


@dataclass(frozen=True)
class _Importable:
    """A folder that is importable, and the one above it."""

    folder: Path
    known: frozenset[str]
    """Modules that were there before."""

    @classmethod
    def start(cls, folder: Path) -> _Importable:
        started = cls(folder, frozenset(sys.modules))
        sys.path[:0] = started.entries
        importlib.invalidate_caches()
        return started

    @property
    def entries(self) -> list[str]:
        return [str(self.folder), str(self.folder.parent)]

    def end(self) -> None:
        # First the modules: the path of a namespace package follows `sys.path`.
        for name in [key for key in sys.modules if key not in self.known and self._is_within(key)]:
            del sys.modules[name]
        for entry in self.entries:
            if entry in sys.path:
                sys.path.remove(entry)

    def _is_within(self, name: str) -> bool:
        """Whether `name` is a file of the user's in one of the folders, or a package there that was not known."""
        if name.startswith(PACKAGE_PREFIX):
            return False
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        if file is None and name.partition(".")[0] in self.known:
            return False
        places = [file] if file is not None else list(getattr(module, "__path__", ()))
        return any(Path(each).is_relative_to(self.folder.parent) and is_users(each) for each in places)


_kept: list[_Importable] = []
"""At most one."""


def keep_importable(path: Path | None) -> None:
    """Let the folder of `path` stay importable, and the one above, for a network that imports when it runs.

    Ends with the next call, which may name another file, or None.
    """
    if path is not None and _is_kept(path):
        return
    while _kept:
        _kept.pop().end()
    if path is not None:
        _kept.append(_Importable.start(path.parent))


def _is_kept(path: Path) -> bool:
    return any(each.folder == path.parent for each in _kept)


@contextmanager
def siblings_importable(path: Path | None) -> Iterator[None]:
    """The folder of `path`, and the one above, are on `sys.path` inside the block.

    Afterwards both `sys.path` and `sys.modules` are as before, so that two projects may use the same file names; but
    for a folder that `keep_importable` keeps. None: nothing happens.
    """
    with _removed_entries_come_back():
        if path is None or _is_kept(path):
            yield
            return
        started = _Importable.start(path.parent)
        try:
            yield
        finally:
            started.end()


@contextmanager
def _removed_entries_come_back() -> Iterator[None]:
    """What the user's code takes from `sys.path`, the harness still needs."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path.extend(entry for entry in before if entry not in sys.path)


def import_failure(what: str, error: BaseException, place: str = "") -> ModelError:
    """The error for a file or module of the user's that cannot be imported."""
    if isinstance(error, SystemExit):
        return ModelError(
            f"importing {what} ended the process: SystemExit({message_of(error)}){place}",
            fix='put what the file does as a program under `if __name__ == "__main__":`',
        )
    return ModelError(f"importing {what} failed: {described(error)}{place}", fix="correct the file")


def described(error: BaseException) -> str:
    """Type and message of an exception that user code raised."""
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def missing_file(path: Path) -> ModelError:
    """The error for a model file that is not there, naming the nearest that is."""
    folder = path.parent
    if not folder.is_dir():
        return ModelError(f"there is no folder {folder}", fix="correct the model's `factory`")
    names = sorted(file.name for file in folder.glob("*.py"))
    guess = nearest(path.name, names)
    known = ", ".join(names) or "no Python files"
    fix = f"did you mean `{guess}`?" if guess else f"{folder} has {known}"
    return ModelError(f"there is no file {path}", fix=fix)


def _line_of(error: BaseException, path: Path) -> str:
    """Where in the user's own file it happened."""
    trace, line = error.__traceback__, getattr(error, "lineno", None)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" (line {line})"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
