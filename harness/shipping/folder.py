"""The shipped folder: files of the run, what reads images and runs the engine, data, checksums and the card."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness import standalone
from harness.comparison.sources import load_results
from harness.errors import StageError, UsageError, shortened
from harness.paths import file_name_problem, is_inside
from harness.results import Deployment, Example, NetworkInput, Row, RunResults
from harness.shipping.card import card_text
from harness.shipping.choose import chosen_row
from harness.standalone.program import CHECKSUMS, EXPECTED, SETTINGS
from harness.targets.engine_record import EngineRecord, sha256

CARD, SCRIPT, SUPPORT = "MODEL_CARD.md", "predict.py", "support"
_CHECK_S = 600
_PROGRAM = """

if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    from support.program import main

    sys.exit(main(open_engine))
"""
"""Appended to the target's script, the same for every target."""
Kept = TypeVar("Kept")
_OF_ALL, _OF_IMAGES = ("__init__.py", "program.py", "rules.py"), ("decode.py", "crop.py")


@dataclass(frozen=True)
class Shipped:
    """What was written."""

    folder: Path
    row: Row
    checked: str | None
    """What the folder's own check said; None where nothing could be checked."""
    notes: tuple[str, ...] = ()
    """What the folder lacks, and why."""


@dataclass(frozen=True)
class Source:
    """One row in the folder of its run."""

    results: RunResults
    row: Row
    directory: Path

    def file(self, kind: str) -> Path:
        """A file of the row; UsageError where it has none, or where it is gone."""
        if kind not in self.row.files:
            why = f": {self.row.reason}" if self.row.reason else ""
            raise UsageError(
                f"{self.row.variant.id} is {self.row.status} and has no {kind} file{why}", fix="name another variant"
            )
        return self.path(self.row.files[kind])

    def path(self, relative: str) -> Path:
        """A file of the run; UsageError where it is gone, or lies elsewhere."""
        path = self.directory / relative
        if not is_inside(path, self.directory):
            raise UsageError(f"{shortened(relative)} is not in the run's folder", fix="run the scenario again")
        if not path.is_file():
            raise UsageError(
                f"{path} is missing: a run's folder holds all that is shipped",
                fix="restore it, or run the scenario again: what the store still has is not computed anew",
            )
        return path

    @property
    def deployment(self) -> Deployment:
        """How the engine is opened; UsageError for runs of earlier versions."""
        return self._kept(self.row.deployment, "how the engine is opened")

    @property
    def input(self) -> NetworkInput:
        """How samples become inputs; UsageError for runs of earlier versions."""
        return self._kept(self.results.datasets[0].input if self.results.datasets else None, "how images are read")

    def _kept(self, value: Kept | None, what: str) -> Kept:
        if value is None:
            raise UsageError(
                f"the record of {self.results.run_id} does not say {what}: it is of an earlier version",
                fix="run the scenario again: what the store still has is not computed anew",
            )
        return value


def ship(run: Path, variant_id: str | None = None, output: Path | None = None) -> Shipped:
    """Write the named row of a run, else the recommended one, as a folder that needs no harness, and check it.

    UsageError where there is nothing to ship, where files of the run are missing and where `output` is not empty;
    StageError where the folder does not give the outputs that were measured. Nothing is left at `output` then.
    """
    results, directory = load_results(run), run if run.is_dir() else run.parent
    row = chosen_row(results, variant_id)
    folder = Path("shipped") / row.variant.id if output is None else output
    if output is None and (problem := file_name_problem(row.variant.id)) is not None:
        raise UsageError(f"the variant's id {problem}", fix="choose a folder with --output")
    _require_empty(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".shipping-", dir=folder.parent) as name:
            made = Path(name) / "folder"
            notes = _write(Source(results, row, directory), made)
            checked = None if notes else _check(made)
            folder.mkdir(exist_ok=True)
            for each in made.iterdir():
                each.replace(folder / each.name)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}", fix="choose another --output") from error
    return Shipped(folder, row, checked, tuple(notes))


def _require_empty(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is no folder", fix="choose another --output")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", fix="choose another --output, or empty it")


def _write(source: Source, folder: Path) -> list[str]:
    """Everything; what is lacking, in words."""
    engine, samples = _sound_engine(source), _samples(source)
    (folder / SUPPORT).mkdir(parents=True)
    shutil.copyfile(source.file("onnx"), folder / "model.onnx")
    shutil.copyfile(engine, folder / f"engine{engine.suffix}")
    notes = []
    if samples:
        _copy_samples(source, samples, folder)
    else:
        notes.append("no samples: the run has no outputs of this engine to expect, so nothing can be checked")
    if source.deployment.script is None:
        notes.append(f"no {SCRIPT}: the target `{source.row.variant.target}` has no script that runs its engines")
    else:
        _copy_program(source, source.deployment.script, folder)
    settings = _settings(source, f"engine{engine.suffix}", samples)
    _write_text(folder / SETTINGS, json.dumps(settings, indent=1, allow_nan=False))
    _write_text(folder / CARD, card_text(source.results, source.row, notes))
    _write_text(folder / CHECKSUMS, _checksums(folder))
    return notes


def _sound_engine(source: Source) -> Path:
    """The engine file; UsageError where it is not the one that was measured."""
    engine = source.file("engine")
    record = EngineRecord.load(engine)
    if record is not None and record.sha256 not in (None, sha256(engine)):
        raise UsageError(f"{engine} is not the file that was measured", fix="run the scenario again")
    return engine


def _samples(source: Source) -> dict[str, Example]:
    """Examples by their path in the shipped folder; none where the engine's outputs for them are not known."""
    if "example_outputs" not in source.row.files:
        return {}
    return {f"samples/{Path(each.file).name}": each for each in source.results.examples}


def _copy_samples(source: Source, samples: Mapping[str, Example], folder: Path) -> None:
    (folder / EXPECTED).parent.mkdir()
    shutil.copyfile(source.file("example_outputs"), folder / EXPECTED)
    for name, example in samples.items():
        shutil.copyfile(source.path(example.file), folder / name)


def _copy_program(source: Source, script: str, folder: Path) -> None:
    """The target's script, and the modules of `harness.standalone` that this network needs, as they are."""
    _write_text(folder / SCRIPT, source.path(script).read_text(encoding="utf-8") + _PROGRAM)
    reads_images = source.input.decode is not None
    for name in (*_OF_ALL, *(_OF_IMAGES if reads_images else ())):
        shutil.copyfile(Path(standalone.__file__).with_name(name), folder / SUPPORT / name)
    needed = ["numpy", *source.deployment.requirements]
    _write_text(folder / "requirements.txt", "".join(f"{each}\n" for each in needed))


def _settings(source: Source, engine: str, samples: Mapping[str, Example]) -> dict[str, Any]:
    """What the program reads: names and numbers are data, never part of its source."""
    dataset = source.results.datasets[0]
    return {
        "run": source.results.run_id,
        "variant": source.row.variant.id,
        "engine": engine,
        "engine_options": source.deployment.options,
        "class_names": dataset.class_names,
        "input": source.input.plain(),
        "samples": [{"file": name, "label": example.label} for name, example in samples.items()],
    }


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _checksums(folder: Path) -> str:
    """As `sha256sum --check` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def _check(folder: Path) -> str:
    """What the folder's own check prints, in a process that finds no harness by its path; StageError where it fails."""
    command = [sys.executable, "-I", "-B", SCRIPT, "--check"]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and what was just written
            command, capture_output=True, text=True, timeout=_CHECK_S, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        raise StageError(f"the folder's own check takes longer than {_CHECK_S} s", fix="look at the engine") from None
    if done.returncode == 0:
        return done.stdout.strip()
    said = [*done.stdout.splitlines(), *done.stderr.splitlines()[-1:]]
    raise StageError(
        f"the folder fails its own check here: {shortened('; '.join(said) or 'it said nothing', 500)}",
        fix="ship on the machine of the run, with the versions of the run",
    )
