"""Runs each scenario once in a session, in whichever process needs it first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from pydantic import BaseModel

from harness.boundary import unforeseen
from harness.errors import HarnessError, UsageError
from harness.pytest_plugin.cell import LoadedScenario
from harness.pytest_plugin.state import PluginState
from harness.results import Gate, Row, RunResults, Variant

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

_RESULTS = "results.json"
_OF_A_RUN = (_RESULTS, "report.html", "report.md", "results.csv", "models", "engines", "logs", "samples")
"""What a run writes into its folder."""


@dataclass(frozen=True)
class Run:
    """A finished run of one scenario in this session."""

    results: RunResults
    directory: Path

    def row(self, variant: Variant) -> Row:
        """What was found out about one variant."""
        return self.results.row(variant.id)

    def gates(self, variant: Variant) -> tuple[Gate, ...]:
        """The limits that were set for one variant."""
        return tuple(gate for gate in self.results.gates if gate.variant == variant.id)

    def timed_ms(self, variant: Variant) -> npt.NDArray[np.float64]:
        """Every timed inference of one variant, in order; not those of the A/A control."""
        samples = self._latency
        ms: npt.NDArray[np.float64] = samples.loc[samples["session"] == variant.id, "ms"].to_numpy(dtype=float)
        return ms

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.directory / "report.html"

    @cached_property
    def _latency(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self.directory / "samples" / "latency.parquet", columns=["session", "ms"])


Runner = Callable[[LoadedScenario, AbstractSet[str], Path], RunResults]
"""Runs the variants with these ids (and their FP32 rows), fills the folder, and returns the record."""


class _Note(BaseModel):
    """What other processes of the session find of a run: where it lies, or why there is none."""

    directory: Path = Path()
    failure: str = ""

    def save(self, path: Path) -> None:
        path.write_text(self.model_dump_json(), encoding="utf-8")


class MatrixRuns:
    """Scenarios are run one after another, each by one process, whose executor uses all cores.

    Other xdist workers wait for it and read its results: variants that are compared must be timed side by side, and
    nothing else of the session may compute meanwhile.
    """

    def __init__(self, state: PluginState, runner: Runner, shared: Path) -> None:
        self._state = state
        self._runner = runner
        self._shared = shared
        self._known: dict[Path, Run | str] = {}

    def of(self, loaded: LoadedScenario) -> Run:
        """The run of a scenario; the test fails with one message when it could not be started."""
        if loaded.path not in self._known:
            self._known[loaded.path] = self._obtain(loaded)
        known = self._known[loaded.path]
        if isinstance(known, str):
            pytest.fail(known, pytrace=False)
        self._state.folders.setdefault(known.directory)
        return known

    def _obtain(self, loaded: LoadedScenario) -> Run | str:
        """The run, made by this process or another, or why there is none."""
        self._shared.mkdir(parents=True, exist_ok=True)
        path = self._shared / f"{sha256(str(loaded.path).encode()).hexdigest()[:16]}.json"
        with FileLock(self._shared / "run.lock"):
            if path.exists():
                note = _Note.model_validate_json(path.read_text(encoding="utf-8"))
                return note.failure or Run(RunResults.load(note.directory / _RESULTS), note.directory)
            try:
                directory = self._directory(loaded)
                results = self._runner(loaded, self._state.chosen[loaded.path], directory)
            except HarnessError as error:
                _Note(failure=str(error)).save(path)
                return str(error)
            except Exception as error:
                # One message for every test of the scenario, and the traceback in a log; none tries again.
                failure = f"{loaded.scenario.name} could not be run: {unforeseen(error)}"
                _Note(failure=failure).save(path)
                return failure
            _Note(directory=directory).save(path)
        return Run(results, directory)

    def _directory(self, loaded: LoadedScenario) -> Path:
        """An empty folder for the run; what an earlier session left in `--harness-out` goes."""
        name, out = loaded.scenario.name, self._state.settings.out
        if out is None:
            directory = self._shared / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        else:
            directory = out / name if len(self._state.chosen) > 1 else out
        if directory in self._taken():
            raise UsageError(f"two scenarios are named `{name}`", fix="rename one, so that each has its own folder")
        for entry in _OF_A_RUN if (directory / _RESULTS).exists() else ():
            path = directory / entry
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {directory}: {error.strerror}", fix="choose another --harness-out"
            ) from None
        return directory

    def _taken(self) -> set[Path]:
        notes = [_Note.model_validate_json(path.read_text(encoding="utf-8")) for path in self._shared.glob("*.json")]
        return {note.directory for note in notes if not note.failure}
