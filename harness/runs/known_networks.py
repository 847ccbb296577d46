"""What is known of networks from earlier commands: building one takes seconds, most of them to import torch.

One JSON file for each network, in the store. It holds for as long as nothing has changed that can change the network:
the files that were read when it was built, by their contents; all other files of the project, by size and time; the
installed packages, the harness, the environment's variables, and the machine. Whatever else a network may depend on,
such as a service on the network, is looked at when something of that changes. Faults are never kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import version
from harness.engine.store import default_root
from harness.errors import UsageError
from harness.machine.hardware import usable_cores
from harness.paths import replace_text
from harness.results.run_folder import CLAIM, RECORDS
from harness.stages.network_probe import NetworkFacts, NetworkRequest, WeightsFacts
from harness.training.file_sums import Dependencies, FileSum, file_sha256

_FORMAT = 1
_FOLDER = "networks"
_OF_THE_SHELL = frozenset(("_", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST"))
"""Variables that change from command to command."""
_NOT_OF_THE_PROJECT = frozenset(("__pycache__", "reports", "node_modules", "build", "dist"))
_OF_A_RUN = frozenset((CLAIM, *RECORDS))
"""A folder with one of these files holds a run."""
_READ_BY_PYTHON_ALONE = (".yaml", ".yml", ".md")
"""Their contents count where they were read, and an edit of a scenario does not build its networks again."""
_MOST_FILES = 20_000
"""A project with more is not looked through; its networks are built each time."""


@dataclass(frozen=True)
class KnownNetworks:
    """The networks of one project that are known."""

    folder: Path | None
    """None where nothing can be kept."""
    around: str | None
    """Checksum of all that a network may depend on beside the files that it reads; None for too many files."""
    root: Path

    @classmethod
    def of(cls, root: Path) -> KnownNetworks:
        """Those of the project with this root, as it is now."""
        try:
            folder: Path | None = default_root() / _FOLDER
        except UsageError:
            folder = None
        return cls(folder, None if folder is None else _around(root, folder.parent), root)

    def get(self, request: NetworkRequest) -> NetworkFacts | None:
        """What is known of a network; None where nothing is, or something has changed since."""
        if self.folder is None or self.around is None:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):  # whatever may have become of the file
            entry = json.loads(self._file(request).read_text(encoding="utf-8"))
            facts = _facts(entry["facts"])
            if entry["around"] == self.around and _is_unchanged(facts, request):
                return facts
        return None

    def add(self, request: NetworkRequest, facts: NetworkFacts) -> None:
        """Keep what was found out, where it follows from files that did not change meanwhile."""
        if self.folder is None or self.around is None or facts.dependencies.writes_what_it_reads:
            return
        if self.around != _around(self.root, self.folder.parent) or not _is_unchanged(facts, request):
            return
        entry = {"around": self.around, "facts": asdict(facts)}
        file = self._file(request)
        with suppress(OSError):  # a full disk, or a store that cannot be written
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_text(file, _text(entry))

    def _file(self, request: NetworkRequest) -> Path:
        assert self.folder is not None
        key = _sha256([_text({"format": _FORMAT, **vars(request)})])
        return self.folder / key[:2] / f"{key}.json"


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=str, sort_keys=True)


def _facts(values: dict[str, Any]) -> NetworkFacts:
    read, weights = values["dependencies"], values["weights"]
    files = tuple(FileSum(Path(path), sha256) for path, sha256 in read["files"])
    return NetworkFacts(
        Dependencies(read["sha256"], files, read["writes_what_it_reads"]),
        {name: tuple(classes) for name, classes in values["classes"].items()},
        None if weights is None else WeightsFacts(**weights),
    )


def _is_unchanged(facts: NetworkFacts, request: NetworkRequest) -> bool:
    """Whether every file that was read is what it was."""
    sums = [*facts.dependencies.files]
    if request.weights_path is not None:
        if facts.weights is None:
            return False
        sums.append(FileSum(request.weights_path, facts.weights.sha256))
    try:
        return all(file_sha256(each.path) == each.sha256 for each in sums)
    except OSError:
        return False


def _around(root: Path, store: Path) -> str | None:
    project = []
    for entry in _files(root.resolve(), {str(store.resolve())}):
        project.append(entry)
        if len(project) > _MOST_FILES:
            return None
    environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_SHELL}
    about = {
        "project": sorted(project),
        "harness": [version.__version__, *sorted(_files(Path(version.__file__).parent, set()))],
        "packages": sorted(_packages()),
        "environment": environment,
        "python": [sys.version, sys.executable, *sys.path, str(Path.cwd())],
        "machine": [platform.node(), platform.machine(), usable_cores()],
    }
    return _sha256([_text(about)])


def _files(folder: Path, left_out: set[str]) -> Iterator[str]:
    """Name, size and time of every file; hidden ones and what commands write are no part of a project."""
    waiting = [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        if not _OF_A_RUN.isdisjoint(entry.name for entry in entries):
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_OF_THE_PROJECT or entry.path in left_out:
                continue
            if entry.is_dir():
                if not entry.is_symlink():
                    waiting.append(entry.path)
            elif entry.name.endswith(_READ_BY_PYTHON_ALONE):
                yield entry.path
            else:
                with suppress(OSError):
                    status = entry.stat()
                    yield f"{entry.path} {status.st_size} {status.st_ctime_ns}"


def _packages() -> Iterator[str]:
    """What is installed: the names of the folders of distributions hold their versions."""
    for folder in sys.path:
        with suppress(OSError):
            for entry in os.scandir(folder or "."):
                if entry.name.endswith((".dist-info", ".egg-info", ".egg-link", ".pth")):
                    yield f"{entry.path} {entry.stat().st_mtime_ns}"


def _sha256(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
