"""Write the starter project into a folder."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import version
from harness.errors import UsageError
from harness.scenario.json_schema import FILE_NAME, json_schema

DISTRIBUTION = "quant-harness"
EXTRAS = "pytest"
FILES = Path(__file__).parent / "files"
_DOTTED = ("github", "gitignore")
"""Names that begin with a dot in a project, and not here, where git and packaging would act on them."""
_MARK = "@{}@"
_GENERATED = "__pycache__"
_NEEDED = {
    "tox.ini": "[testenv:nightly]",
    "pyproject.toml": "harness_scenarios",
    "requirements.txt": DISTRIBUTION,
    ".gitignore": "/reports/",
}
"""What the workflows and pytest rely on, in files that a project usually has already."""


@dataclass(frozen=True)
class Written:
    """What was done."""

    new: tuple[Path, ...]
    kept: tuple[Path, ...]
    """Files that were there already and were not touched."""
    incomplete: tuple[tuple[Path, str], ...]
    """Those of them that lack what the others rely on, and what the starter has there."""


def write_starter(directory: Path, requirement: str) -> Written:
    """Write every file that is not there yet; UsageError when the folder cannot be written to.

    Args:
        directory: made when missing.
        requirement: how pip finds this package: a line of `requirements.txt`.
    """
    new, kept, incomplete = [], [], []
    for path, text in starter_files(requirement, directory.resolve().name):
        target = directory / path
        if target.exists() or target.is_symlink():
            kept.append(target)
            if _lacks(target, _NEEDED.get(path.as_posix())):
                incomplete.append((target, text))
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}", fix="choose another folder") from None
        new.append(target)
    return Written(tuple(new), tuple(kept), tuple(incomplete))


def starter_files(requirement: str, name: str) -> Iterator[tuple[Path, str]]:
    """Path in the project and text of every file."""
    words = {"REQUIREMENT": requirement, "PROJECT": name, "VERSION": version.__version__}
    for source in sorted(FILES.rglob("*")):
        if source.is_file() and _GENERATED not in source.parts:
            text = source.read_text(encoding="utf-8")
            for word, meaning in words.items():
                text = text.replace(_MARK.format(word), meaning)
            yield _in_project(source.relative_to(FILES)), text
    yield Path("scenarios") / FILE_NAME, json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def installed_requirement() -> str:
    """How pip finds what is installed here: the place that it was installed from (PEP 610), else its version."""
    package = f"{DISTRIBUTION}[{EXTRAS}]"
    try:
        text = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        text = None
    origin = json.loads(text) if text else {}
    repository = origin.get("vcs_info")
    if repository:
        revision = repository.get("commit_id") or repository.get("requested_revision")
        return f"{package} @ {repository['vcs']}+{origin['url']}@{revision}"
    if "url" in origin:
        return f"{package} @ {origin['url']}"
    return f"{package}=={version.__version__}"


def _lacks(file: Path, needed: str | None) -> bool:
    return needed is not None and file.is_file() and needed not in file.read_text(encoding="utf-8", errors="replace")


def _in_project(path: Path) -> Path:
    first, *rest = path.parts
    return Path(f".{first}" if first in _DOTTED else first, *rest)
