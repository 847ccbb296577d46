"""Which files are the user's own, and which of them Python files import: read from their text, nothing is executed."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from harness import version
from harness.engine.imports import absolute_imports

_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr/share/zoneinfo")
_IN_OTHERS = frozenset({"site-packages", "dist-packages", "__pycache__", ".git"})


@functools.lru_cache(maxsize=65_536)
def is_users(path: str) -> bool:
    """Whether a file, given by its absolute path, is neither the system's nor Python's, nor installed, nor ours."""
    return not any(_is_others(each) for each in {path, os.path.realpath(path)})


def _is_others(path: str) -> bool:
    return path.startswith(_others()) or not _IN_OTHERS.isdisjoint(Path(path).parts)


@functools.cache
def _others() -> tuple[str, ...]:
    paths = [*_SYSTEM, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))]
    paths += [*site.getsitepackages(), site.getusersitepackages(), str(Path(version.__file__).parent)]
    return ("<", *{each.rstrip(os.sep) + os.sep for path in paths for each in (path, os.path.realpath(path))})


def source_of_cache(path: str) -> str:
    """The Python file that a file of byte code was made from; other paths as they are."""
    if not path.endswith(".pyc"):
        return path
    try:
        source = importlib.util.source_from_cache(path)
    except ValueError:
        return path
    return source if Path(source).is_file() else path


@dataclass
class Imported:
    """What the user's files import, directly or not."""

    files: set[Path] = field(default_factory=set)
    """The user's own, those that were searched among them."""
    libraries: set[str] = field(default_factory=set)
    """Top-level modules that are installed."""
    harness: set[str] = field(default_factory=set)
    """Modules of the harness, or names in them."""

    @classmethod
    def by(cls, files: Iterable[Path]) -> Imported:
        """By these files; what is not Python, or cannot be read, imports nothing."""
        found = cls()
        waiting = list(files)
        while waiting:
            path = waiting.pop()
            if path not in found.files:
                found.files.add(path)
                waiting.extend(found._imports_of(path))
        return found

    def _imports_of(self, path: Path) -> Iterator[Path]:
        if path.suffix != ".py":
            return
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for name in set(absolute_imports([tree], "")):
            yield from self._absolute(name, path.parent)
        for base, name in _relative_imports(tree, path):
            yield from _files_of(name.split("."), [base])

    def _absolute(self, name: str, folder: Path) -> Iterator[Path]:
        top, *rest = name.split(".")
        if top == "harness":
            self.harness.add(name)
        elif top not in sys.stdlib_module_names:
            found = list(_files_of([top, *rest], [folder, folder.parent]))
            spec = None if found else _spec_of(top)
            folders = [Path(each) for each in (spec.submodule_search_locations or ())] if spec else []
            if spec is not None and not found and _is_installed(spec):
                self.libraries.add(top)
            elif spec is not None:
                found = [file for each in folders for file in _files_of(rest, [each])]
                found += [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
            yield from found


def _spec_of(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_installed(spec: ModuleSpec) -> bool:
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location and spec.origin else [])]
    return not any(is_users(str(Path(place).absolute()) + os.sep) for place in places)


def _relative_imports(tree: ast.AST, path: Path) -> Iterator[tuple[Path, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(path.parents):
            for alias in node.names:
                yield path.parents[node.level - 1], ".".join(filter(None, [node.module, alias.name]))


def _files_of(names: list[str], bases: Iterable[Path]) -> Iterator[Path]:
    """The files that importing a dotted name from one of these folders executes; its last part may be no module."""
    for base in bases:
        folder = base
        for name in names:
            if (folder / name).with_suffix(".py").is_file():
                yield (folder / name).with_suffix(".py")
            folder = folder / name
            if (folder / "__init__.py").is_file():
                yield folder / "__init__.py"
            if not folder.is_dir():
                break
