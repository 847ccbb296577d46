"""Runs whose findings are written down beforehand, to test what pytest makes of them."""

import json
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from oracles.comparisons import faster

from harness.errors import UsageError
from harness.pytest_plugin.cell import LoadedScenario
from harness.results import Gate, Latency, Row, RunResults, Variant

SCRIPT, JOURNAL = "script.json", "journal.jsonl"
_SECONDS = 0.02
CONFTEST = """
import pathlib
import pytest
from oracles.scripted_runs import ScriptedRunner

@pytest.fixture(scope="session")
def harness_runner():
    return ScriptedRunner(pathlib.Path(__file__).parent)
"""
"""Of a project whose runs are scripted."""


def write_script(project: Path, **script: Any) -> None:
    """Keys: `rows` (fields by variant id), `gates`, `latency_ms` (times by variant id), `refusal`."""
    (project / SCRIPT).write_text(json.dumps(script), encoding="utf-8")


def journal(project: Path) -> list[dict[str, Any]]:
    """One entry for each run that was started: `scenario` and `chosen`."""
    path = project / JOURNAL
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


class ScriptedRunner:
    """In place of `run_matrix`. Without a script every variant is `ok`. Two at once are an error."""

    def __init__(self, project: Path) -> None:
        self._project = project

    def __call__(self, loaded: LoadedScenario, chosen: AbstractSet[str], directory: Path) -> RunResults:
        at_work = self._project / "at_work"
        at_work.touch(exist_ok=False)
        try:
            time.sleep(_SECONDS)  # long enough to be met by another
            return self._run(loaded, chosen, directory)
        finally:
            at_work.unlink()

    def _run(self, loaded: LoadedScenario, chosen: AbstractSet[str], directory: Path) -> RunResults:
        path = self._project / SCRIPT
        script = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        with (self._project / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"scenario": loaded.scenario.name, "chosen": sorted(chosen)}) + "\n")
        if "refusal" in script:
            raise UsageError(script["refusal"], fix="as the script says")
        times = script.get("latency_ms", {})
        groups = {variant.group for variant in loaded.variants if variant.id in chosen}
        rows = [
            _row(variant, script.get("rows", {}).get(variant.id, {}), times.get(variant.id))
            for variant in loaded.variants
            if variant.id in chosen or (variant.method == "fp32" and variant.group in groups)
        ]
        _write_samples(directory, times)
        results = RunResults(
            scenario=loaded.scenario.name,
            run_id=directory.name,
            started_at="2026-01-01T00:00:00+00:00",
            wall_s=1.0,
            environment={},
            rows=tuple(rows),
            gates=tuple(Gate.model_validate(gate) for gate in script.get("gates", ())),
        )
        results.save(directory / "results.json")
        return results


def _row(variant: Variant, fields: dict[str, Any], times_ms: list[float] | None) -> Row:
    latency = None
    if times_ms is not None:
        median = float(np.median(times_ms))
        latency = Latency(
            median_ms=median,
            p90_ms=None,
            p99_ms=None,
            n=len(times_ms),
            rounds=1,
            throughput_per_s=1e3 / median,
            comparison=None
            if variant.method == "fp32"
            else faster(2.0, (1.9, 2.1), reference="the FP32 row", verdict="better"),
            threads=1,
            includes_transfers=False,
        )
    return Row.model_validate({"status": "ok", **fields, "variant": variant, "latency": latency})


def _write_samples(directory: Path, times: dict[str, list[float]]) -> None:
    (directory / "samples").mkdir()
    frames = [pd.DataFrame({"session": [name] * len(ms), "ms": ms}) for name, ms in times.items()]
    if frames:
        pd.concat(frames).to_parquet(directory / "samples" / "latency.parquet", index=False)
