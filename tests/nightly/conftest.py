"""Nights whose runs are recorded: everything of `harness nightly` but the work."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from oracles.recorded_runs import FP32, MACS, PTQ, Recorded
from typer.testing import CliRunner

import harness.runs.complete
import harness.runs.nightly
from harness.cli import app

START = datetime(2026, 1, 1, tzinfo=UTC)


class Nights:
    """A project with one scenario file for each name; each night its runs find what they are told to."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.findings, self.number = root, {}, 0
        (root / "scenarios").mkdir()
        monkeypatch.chdir(root)
        monkeypatch.delenv("HARNESS_HISTORY", raising=False)
        monkeypatch.setattr(harness.runs.nightly, "load_scenario", self._load)
        monkeypatch.setattr(harness.runs.nightly, "prepare_runs", self._prepare)
        monkeypatch.setattr(harness.runs.complete, "run_scenario", self._run)
        self.add("tiny")

    def add(self, name: str) -> None:
        (self.root / "scenarios" / f"{name}.yaml").write_text(f"name: {name}\n", encoding="utf-8")

    def remove(self, name: str) -> None:
        (self.root / "scenarios" / f"{name}.yaml").unlink()

    def nightly(self, *arguments: str, **ptq):
        """Run `harness nightly`; the keywords are what the PTQ variant is found to be, `extra` a variant more."""
        self.findings = ptq
        self.number += 1
        out = f"reports/nightly-{self.number:03}"
        return CliRunner().invoke(app, ["nightly", "--quiet", "--out", out, *arguments])

    def _load(self, path: Path):
        name = re.match(r"name: (\S+)", path.read_text(encoding="utf-8")).group(1)
        return SimpleNamespace(name=name, root=self.root)

    @staticmethod
    def _prepare(scenarios, _):
        return [SimpleNamespace(about=scenario, notes=()) for scenario in scenarios]

    def _run(self, item, folder, store, options, display):
        findings = dict(self.findings)
        extra, gates = findings.pop("extra", None), findings.pop("gates", ())
        run = Recorded(scenario=item.about.name, started_at=(START + timedelta(days=self.number)).isoformat())
        run.add(FP32, floats=dict.fromkeys(MACS, "not quantized"))
        run.add(PTQ, **findings)
        if extra:
            run.add(**extra)
        folder.rmdir()
        run.write(folder)
        results = run.results.model_copy(update={"run_id": folder.name, "gates": tuple(gates)})
        results.save(folder / "results.json")
        return results


@pytest.fixture
def nights(tmp_path, monkeypatch):
    return Nights(tmp_path, monkeypatch)
