"""One key, one result: neither the number of jobs nor the seed of Python's hashes changes a byte of any artifact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from oracles.example_stages import task

from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done
from harness.engine.store import Store
from harness.machine.hardware import stage_threads

ROOT = Path(__file__).parents[2]
SCENARIO = """\
name: bytes
dataset: {source: fashion_mnist, location: embedded, train_samples: 200, calibration_samples: 64, test_samples: 50}
models:
  one: {factory: "models/resnet.py:resnet8", args: {width: 16}}
  two: {factory: "models/resnet.py:resnet8", args: {width: 8}}
training: {max_epochs: 1, batch_size: 32}
measurement: {latency: false, memory: false}
matrix: {method: [fp32, ptq, qat], calibrator: max, batch_norm: live, target: onnxruntime}
"""
SCRIPT = """\
import json, sys
from pathlib import Path
from harness.engine.local import LocalExecutor
from harness.runs.preparation import RunOptions, prepare
from harness.engine.store import Store
from harness.scenario import load_scenario

if __name__ == "__main__":
    prepared = prepare(load_scenario(Path(sys.argv[1])), RunOptions())
    executor = LocalExecutor(Store(Path(sys.argv[2])), jobs=int(sys.argv[3]))
    outcomes = executor.run([task for plan in prepared.plans for task in plan.all_tasks])
    print(json.dumps({
        f"{key} {outcome.artifact.manifest.stage} {name}": entry.sha256
        for key, outcome in outcomes.items()
        for name, entry in outcome.artifact.manifest.files.items()
    }))
"""


def checksums(folder: Path, jobs: int, seed: int) -> dict[str, str]:
    """sha256 of every file of every artifact of a run, by key, stage and file."""
    (folder / "run.py").write_text(SCRIPT)
    found = subprocess.run(
        [sys.executable, "run.py", "scenarios/bytes.yaml", f"store{jobs}", str(jobs)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    files: dict[str, str] = json.loads(found.stdout.splitlines()[-1])
    return files


@pytest.mark.slow
def test_two_jobs_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "bytes.yaml").write_text(SCENARIO)
    (tmp_path / "models").symlink_to(ROOT / "models")
    one, two = checksums(tmp_path, 1, 1), checksums(tmp_path, 2, 2)
    kinds = {name.partition(" ")[2] for name in one}
    assert {"train weights.safetensors", "calibrate histograms.npz", "quantize state.safetensors"} <= kinds
    assert {"finetune state.safetensors", "export model.onnx", "evaluate outputs.npy"} <= kinds
    assert [name for name in one if two.get(name) != one[name]] == []
    assert one.keys() == two.keys()


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_stage_has_as_many_threads_whatever_the_number_of_jobs(store: Store, journal: Path, jobs: int) -> None:
    item = task("talk", journal)
    outcome = LocalExecutor(store, jobs=jobs).run([item])[item.key]
    assert isinstance(outcome, Done)
    assert outcome.artifact.meta["threads"] == stage_threads()


def test_the_number_of_threads_is_in_the_key(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for threads in ("1", "2", "1"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.add(task("talk", journal).key)
    assert len(found) == 2
    for _ in range(2):
        found.add(task("talk", journal, exclusive=True).key)
    assert len(found) == 3


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("0", None), ("", None), ("many", None), ("9" * 30, None)])
def test_threads_of_a_stage(monkeypatch: pytest.MonkeyPatch, value: str, expected: int | None) -> None:
    monkeypatch.setattr("harness.machine.hardware.usable_cores", lambda: 16)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert stage_threads() == (expected or 4)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (7, 1), (8, 2), (64, 16)])
def test_a_quarter_of_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr("harness.machine.hardware.usable_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert stage_threads() == threads
