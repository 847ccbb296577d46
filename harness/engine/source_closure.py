"""The source that a function of ours can execute: what it imports, directly or not, read from the text of the modules.

Modules count as a whole and their imports are followed, those inside functions and those of plug-ins found by being
files too. Modules of the packages in `PARTED` glue many functions together: of them only the definitions count that a
function refers to. A package on the way to a module counts with its text, and its imports are not followed: importing
one of our modules has no effect but its names.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from harness.engine.imports import absolute_imports, is_type_checking, source_of

PARTED = ("harness.engine", "harness.stages")
"""Packages whose modules count by definition."""
_MEMBERS = "harness.registry.members"
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Closure:
    """All source that one function depends on."""

    parts: dict[str, str]
    """sha256 of the text by name of the module, or of the definition as `module:name`."""
    libraries: tuple[str, ...]
    """Top-level modules of others that are imported."""

    @property
    def sha256(self) -> str:
        """Over names and texts."""
        text = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(self.parts.items()))
        return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def closure(function: str) -> Closure:
    """What `module:function`, or a whole `module`, depends on; empty where there is no such source.

    Nothing is imported. Files are read once: what runs is what was there when the process began.
    """
    return Package.of(function.partition(":")[0].partition(".")[0]).closure(function)


@dataclass(frozen=True)
class Package:
    """A top-level package of source files, or a single module."""

    name: str
    modules: dict[str, _Module]

    @classmethod
    @functools.cache
    def of(cls, name: str) -> Package:
        """The package that `import name` finds; without modules where there is none in source."""
        spec = importlib.util.find_spec(name)
        if spec is None:
            return cls(name, {})
        if spec.submodule_search_locations:
            return cls.at(name, *map(Path, spec.submodule_search_locations))
        is_source = spec.origin is not None and spec.origin.endswith(".py")
        return cls(name, {name: _Module(name, Path(str(spec.origin)))} if is_source else {})

    @classmethod
    def at(cls, name: str, *folders: Path) -> Package:
        """The package whose modules lie in these folders."""
        files = {_module_name(name, file.relative_to(folder)): file for folder in folders for file in _sources(folder)}
        return cls(name, {module: _Module(module, file) for module, file in files.items()})

    def closure(self, function: str) -> Closure:
        """What a function of this package depends on."""
        return _ClosureSearch(self).run(function)

    def module_of(self, name: str) -> str | None:
        """The module that a dotted name is or lies in; None for names of others."""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name or None


def _sources(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.py")


def _module_name(top: str, relative: Path) -> str:
    parts = [top, *relative.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class _Part(NamedTuple):
    sha256: str
    names: frozenset[str]
    imports: frozenset[str]


@dataclass
class _Module:
    name: str
    path: Path
    _parts: dict[str, _Part] = field(default_factory=dict)

    @cached_property
    def text(self) -> bytes:
        return self.path.read_bytes()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.text).hexdigest()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> frozenset[str]:
        """Imports of the whole module."""
        return frozenset(absolute_imports([self.tree], self.package))

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """What the module itself defines, by name."""
        found: dict[str, list[ast.stmt]] = {}
        for node in _with_type_checking(self.tree.body):
            for name in _defined_names(node):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def imported(self) -> dict[str, tuple[str, str | None]]:
        """Module and name in it, None for the module itself, of each name that the module imports."""
        found: dict[str, tuple[str, str | None]] = {}
        for node in _with_type_checking(self.tree.body):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (alias.name, None)
            elif isinstance(node, ast.ImportFrom):
                source = source_of(node, self.package)
                found |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
        return found

    @cached_property
    def has_effects(self) -> bool:
        """Whether importing it does more than define names, each by a statement of its own."""
        return not all(map(_only_names, _with_type_checking(self.tree.body)))

    def part(self, name: str) -> _Part:
        """One definition, and what it refers to."""
        if name not in self._parts:
            nodes = self.definitions.get(name, [])
            names = {each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)}
            imports = frozenset(absolute_imports(nodes, self.package))
            self._parts[name] = _Part(self._sha256_of(nodes), frozenset({name, *names}), imports)
        return self._parts[name]

    def _sha256_of(self, nodes: list[ast.stmt]) -> str:
        lines = self.text.split(b"\n")
        texts = [b"\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in nodes]
        return hashlib.sha256(b"\n".join(texts)).hexdigest()


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _only_names(node: ast.stmt) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, (*_DEFINITIONS, ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom))


def _defined_names(node: ast.stmt) -> list[str]:
    if isinstance(node, _DEFINITIONS):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def _with_type_checking(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield from node.body if isinstance(node, ast.If) and is_type_checking(node.test) else [node]


@dataclass
class _ClosureSearch:
    package: Package
    parts: dict[str, str] = field(default_factory=dict)
    libraries: set[str] = field(default_factory=set)
    waiting: list[tuple[str, str | None]] = field(default_factory=list)
    """Modules, and names in them; None: the whole module."""

    def run(self, function: str) -> Closure:
        name, _, wanted = function.partition(":")
        self.waiting.append((name, wanted or None))
        while self.waiting:
            name, sought = self.waiting.pop()
            module = self.package.modules.get(name)
            if module is not None:
                self._visit(module, sought)
        return Closure(self.parts, tuple(sorted(self.libraries)))

    def _visit(self, module: _Module, wanted: str | None) -> None:
        parted = wanted is not None and module.name.startswith(PARTED) and not module.has_effects
        part = f"{module.name}:{wanted}" if parted else module.name
        if part in self.parts:
            return
        self._count_packages(module.name)
        if wanted is None or not parted:
            self.parts[part] = module.sha256
            self._follow_imports(module, module.imports)
        else:
            definition = module.part(wanted)
            self.parts[part] = definition.sha256
            self._follow_names(module, definition.names)
            self._follow_imports(module, definition.imports)

    def _count_packages(self, name: str) -> None:
        while name := name.rpartition(".")[0]:
            if name in self.package.modules:
                self.parts[f"{name}:"] = self.package.modules[name].sha256

    def _follow_names(self, module: _Module, names: frozenset[str]) -> None:
        """What a definition refers to: other definitions of its module, and what the module imports."""
        self.waiting += [(module.name, name) for name in names & module.definitions.keys()]
        for name in names & module.imported.keys():
            source, attribute = module.imported[name]
            is_module = attribute is not None and f"{source}.{attribute}" in self.package.modules
            self._add(f"{source}.{attribute}" if is_module else source, None if is_module else attribute)

    def _follow_imports(self, module: _Module, names: frozenset[str]) -> None:
        for name in names:
            part = self.package.module_of(name)
            self._add(name if part is None else part, None if part is None else name[len(part) + 1 :] or None)
        if _MEMBERS in names:
            self.waiting += [(name, None) for name in self.package.modules if name.startswith(f"{module.package}.")]

    def _add(self, source: str, attribute: str | None) -> None:
        top = source.partition(".")[0]
        if top == self.package.name:
            self.waiting.append((source, attribute))
        elif top == "harness":  # of a stage that lies elsewhere
            inner = closure(source if attribute is None else f"{source}:{attribute}")
            self.parts |= inner.parts
            self.libraries.update(inner.libraries)
        elif top not in sys.stdlib_module_names:
            self.libraries.add(top)
