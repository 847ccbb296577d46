"""Files inside installed Python packages, named in a scenario as `package:NAME/FILE`."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from harness.paths import file_problem

PACKAGE_PREFIX = "package:"


class PackageFile(NamedTuple):
    """`package:NAME/FILE`, taken apart."""

    package: str
    """Top-level package, as it is imported."""
    file: str
    """Path inside it."""


def parse_package_file(text: str) -> PackageFile:
    """Take the text apart; PydanticCustomError when it is not of that form or leaves the package."""
    package, _, file = text.removeprefix(PACKAGE_PREFIX).partition("/")
    if not package.isidentifier() or not file or ".." in PurePosixPath(file).parts:
        fix = "write `package:NAME/FILE`, for instance `package:my_weights/resnet.pth`"
        raise PydanticCustomError("weights", "`{text}` names no file in a package", {"text": text, "fix": fix})
    return PackageFile(package, file)


def package_path(text: str) -> Path:
    """Where the file would be; the package is not imported. A path that does not exist when it is not installed."""
    package, file = parse_package_file(text)
    spec = _spec(package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec is not None else []
    found = next((folder / file for folder in folders if file_problem(folder / file) is None), None)
    return found or (folders[0] if folders else Path(package)) / file


def is_installed(text: str) -> bool:
    """Whether the package is there, with or without the file."""
    return _spec(parse_package_file(text).package) is not None


def _spec(package: str) -> ModuleSpec | None:
    """Where a package lies; None for what is none, such as the running script (`__main__`)."""
    try:
        return importlib.util.find_spec(package)
    except (ValueError, ImportError):
        return None
