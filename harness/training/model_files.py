"""Importing a file of the user's project without leaving traces in the process."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from harness.errors import ModelError, nearest

PACKAGE_PREFIX = "_harness_models_"
_MESSAGE_CHARACTERS = 1_000


def import_file(path: Path) -> ModuleType:
    """The module in `path`, under a private name; imported again when the file has changed.

    Its folder becomes a private package, so that `from .sibling import x` works; `from sibling import x` and
    `from folder.sibling import x` work too. Raises ModelError when there is no such file or importing it fails.
    """
    if not path.is_file():
        raise missing_file(path)
    package = PACKAGE_PREFIX + _digest(str(path.parent).encode())
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


@contextmanager
def siblings_importable(path: Path | None) -> Iterator[None]:
    """The folder of `path`, and the one above, are on `sys.path` inside the block.

    Afterwards both `sys.path` and `sys.modules` are as before, so that two projects may use the same file names.
    None: nothing happens.
    """
    if path is None:
        yield
        return
    folder = path.parent
    known, entries, before = set(sys.modules), [str(folder), str(folder.parent)], list(sys.path)
    sys.path[:0] = entries
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # First the modules: the path of a namespace package follows `sys.path`.
        for name in [key for key in sys.modules if key not in known and _is_sibling(key, folder, known)]:
            del sys.modules[name]
        _restore_path(entries, before)


def _restore_path(entries: list[str], before: list[str]) -> None:
    """Take the entries away; what the user's code added stays, and what it removed comes back."""
    for entry in entries:
        if entry in sys.path:
            sys.path.remove(entry)
    sys.path.extend(entry for entry in before if entry not in sys.path)


def _is_sibling(name: str, folder: Path, known: set[str]) -> bool:
    """Whether `name` is a file in `folder`, `folder` itself, or part of a package in it that was not known before."""
    top = name.partition(".")[0]
    if top.startswith(PACKAGE_PREFIX):
        return False
    if _file_folder(name) == folder:
        return True
    packages = {Path(entry) for entry in getattr(sys.modules.get(top), "__path__", ())}
    return top not in known and bool(packages & {folder, folder / top})


def _file_folder(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return None if file is None else Path(file).parent


def import_failure(what: str, error: BaseException, place: str = "") -> ModelError:
    """The error for a file or module of the user's that cannot be imported."""
    if isinstance(error, SystemExit):
        return ModelError(
            f"importing {what} ended the process: SystemExit({message_of(error)}){place}",
            fix='put what the file does as a program under `if __name__ == "__main__":`',
        )
    return ModelError(f"importing {what} failed: {described(error)}{place}", fix="correct the file")


def is_interrupt(error: BaseException) -> bool:
    """Whether it is the user's Ctrl-C; workers do not get one, so that theirs was raised by the code that runs."""
    return isinstance(error, KeyboardInterrupt) and multiprocessing.parent_process() is None


def described(error: BaseException) -> str:
    """Type and message of an exception that user code raised."""
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def message_of(error: BaseException) -> str:
    """First lines of an exception's message; it may be megabytes long, or fail to be made."""
    try:
        text = str(error).strip()
    except BaseException as broken:  # whatever its `__str__` raises
        return f"(its message cannot be shown: `__str__` raised {type(broken).__name__})"
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]} ... ({len(text):,} characters)"


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
