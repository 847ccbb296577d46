"""One plug-in that a stage uses: in its key by content, loaded by the process that runs the stage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import HarnessError, UsageError, is_interrupt, unknown_name
from harness.paths import expanded
from harness.plugin_names import GROUPS, FileName, Kind, entry_points, parse_file_name
from harness.plugins.contract import PluginError, checked_plugin
from harness.registry import plug
from harness.training.file_sums import FileSum, require_unchanged
from harness.training.model_files import PACKAGE_PREFIX, import_failure, import_file, siblings_importable


class PluginCode(BaseModel):
    """A plug-in as the configuration of a stage names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    """As in the scenario."""
    sha256: str
    """Over its file and all that the file imports."""
    distribution: str | None = None
    """Name and version, of an installed plug-in."""
    files: tuple[FileSum, ...] = Field(default=(), exclude=True)
    """The user's files among that; a stage that finds one changed fails."""
    root: Path = Field(exclude=True)

    @property
    def user_code(self) -> str:
        """Names the plug-in: a worker that has loaded it is kept for what uses it."""
        return f"{self.root}: {self.name}"

    @property
    def arguments(self) -> dict[str, str]:
        """Arguments of `plug_in`, as text."""
        return {"kind": self.kind, "name": self.name, "root": str(self.root), "sha256": self.sha256}

    def load_user_code(self) -> None:
        """Register the plug-in under its name in this process; StageError when it is not what the run began with."""
        member = loaded(self.kind, self.name, self.root, self.sha256)
        require_unchanged(self.files)
        plug(self.kind, self.name, member)


_loaded: dict[tuple[str, str, Path, str], Any] = {}


def loaded(kind: Kind, name: str, root: Path, sha256: str) -> Any:
    """The plug-in, which a process loads once for each content."""
    key = (kind, name, root, sha256)
    if key not in _loaded:
        _loaded[key] = load_plugin(kind, name, root)
    return _loaded[key]


LOADER = f"{__name__}:plug_in"


def plug_in(kind: Kind, name: str, root: str, sha256: str) -> None:
    """Load a plug-in in a process that a stage starts: the stage has checked its files."""
    plug(kind, name, loaded(kind, name, Path(root), sha256))


def load_plugin(kind: Kind, name: str, root: Path) -> Any:
    """Import a plug-in, check it and make an instance of it.

    Relative files start at `root`. UsageError when it cannot be found or imported, or is no plug-in of this kind.
    """
    file_name = parse_file_name(name)
    if file_name is not None:
        return _from_file(kind, name, file_name, root)
    point = entry_point(kind, name)
    try:
        found = point.load()
    except BaseException as error:  # a module may do anything when it is imported
        if is_interrupt(error):
            raise
        raise import_failure(f"`{point.value}`", error) from error
    member = checked_plugin(kind, name, found)
    if kind != "training loop" and member.name != name:
        message = f"`{point.value}` has the name `{member.name}`, but is registered as `{name}`"
        raise PluginError(message, fix=f"register it under its name in the entry points `{GROUPS[kind]}`")
    return member


def _from_file(kind: Kind, text: str, name: FileName, root: Path) -> Any:
    path = plugin_file(name, root)
    # A package of its own: importing a model file of the same folder must not forget its modules.
    module = import_file(path, f"{PACKAGE_PREFIX}plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}")
    if name.attribute not in vars(module):
        message, fix = unknown_name(f"name in {name.file}", name.attribute, _candidates(kind, vars(module)))
        raise PluginError(message, fix=fix)
    with siblings_importable(path):
        return checked_plugin(kind, text, vars(module)[name.attribute])


def plugin_file(name: FileName, root: Path) -> Path:
    """The file; relative paths start at `root`."""
    return (root / expanded(name.file)).resolve()


def _candidates(kind: Kind, names: Mapping[str, object]) -> list[str]:
    """Names in a file that are plug-ins of this kind, or all that it defines if none is."""
    found = []
    for name, value in names.items():
        try:
            checked_plugin(kind, name, value)
        except HarnessError:
            continue
        found.append(name)
    return found or [name for name in names if not name.startswith("_")]


def entry_point(kind: Kind, name: str) -> metadata.EntryPoint:
    """What an installed package registers under this name; UsageError for none, and for two."""
    points = entry_points(kind)
    found = points.get(name, ())
    if not found:
        message, fix = unknown_name(kind, name, points)
        raise UsageError(message, fix=fix if points else "install the package that registers it")
    if len(found) > 1:
        owners = ", ".join(sorted(map(distribution_of, found)))
        raise UsageError(f"several packages register the {kind} `{name}`: {owners}", fix="uninstall all but one")
    return found[0]


def distribution_of(point: metadata.EntryPoint) -> str:
    """Name and version of the package that registers it."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
