"""A hash of the source that defines a network, so that editing it invalidates what was computed from it."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from harness.errors import ModelError
from harness.training.factory import FactoryName, parse_factory
from harness.training.model_files import missing_file


def source_sha256(text: str, root: Path) -> str:
    """sha256 of the factory's file and of the files beside it that it imports, directly or not.

    The network's own module is not imported. A factory of an installed package is hashed with the package's version.
    Raises ModelError when the source is not there or is not Python.
    """
    name = parse_factory(text)
    digest = hashlib.sha256(_version_of(name).encode())
    for path in sorted(_with_siblings(_file_of(name, root))):
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _file_of(name: FactoryName, root: Path) -> Path:
    if name.is_file:
        file = name.file(root)
        if not file.is_file():
            raise missing_file(file)
        return file
    try:
        spec = importlib.util.find_spec(name.place)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ModelError(f"there is no module `{name.place}`", fix="install it, or correct the model's `factory`")
    return Path(spec.origin)


def _version_of(name: FactoryName) -> str:
    if name.is_file:
        return ""
    distributions = importlib.metadata.packages_distributions().get(name.place.partition(".")[0], [])
    return " ".join(sorted(f"{each}=={importlib.metadata.version(each)}" for each in set(distributions)))


def _with_siblings(file: Path) -> set[Path]:
    """`file` and the files of its folder that it imports, followed to the end."""
    folder, found, waiting = file.parent, set[Path](), [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported_files(path, folder))
    return found


def _imported_files(path: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ModelError(f"{path} is not Python: {error.msg} (line {error.lineno})", fix="correct the file") from None
    for node in ast.walk(tree):
        for base, module in _imports(node, path, folder):
            stem = base.joinpath(*module.split(".")) if module else base
            for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
                if candidate.is_file() and candidate.is_relative_to(folder):
                    yield candidate


def _imports(node: ast.AST, path: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """Modules that one statement may import, with the folder each starts from."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield folder, alias.name
            yield folder.parent, alias.name
    elif isinstance(node, ast.ImportFrom):
        bases = [path.parents[node.level - 1]] if node.level else [folder, folder.parent]
        for base in bases:
            module = node.module or ""
            yield base, module
            for alias in node.names:  # `from . import sibling`
                yield base, f"{module}.{alias.name}".lstrip(".")
