"""Training whose worker is killed: the next run goes on at the last finished epoch, to the same weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from harness.engine.local import LocalExecutor
from harness.engine.outcomes import Done
from harness.engine.store import Store

HERE = Path(__file__).parent
PATIENCE_S = 1800
"""Only against a hang: a busy machine takes long to import torch."""


def start(store: Path, stage: str) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(HERE / "training_run.py"), str(store), stage],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_worker_after_an_epoch(run: "subprocess.Popen[str]", checkpoint: Path) -> None:
    """Kill whichever process of `run` trains, once it has written a checkpoint."""
    deadline = time.monotonic() + PATIENCE_S
    while not checkpoint.exists():
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert run.poll() is None, "the training was over before it could be killed"
        time.sleep(0.01)
    workers = [p for p in psutil.Process(run.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    assert len(workers) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "file"), [("train", "weights.safetensors"), ("finetune", "state.safetensors")])
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path: Path, stage: str, file: str) -> None:
    from tests.engine.training_run import EPOCHS, make_tasks

    task, other = make_tasks()[stage], Store(tmp_path / "whole")
    expected = LocalExecutor(other, isolation="none").run([task])[task.key]

    store = Store(tmp_path / "broken")
    run = start(store.root, stage)
    try:
        kill_worker_after_an_epoch(run, store.scratch(task.key) / "checkpoint.safetensors")
        assert run.communicate(timeout=PATIENCE_S)[0] == "Failed\n"
    finally:
        run.kill()
    assert store.get(task.key) is None

    notes: list[str] = []
    executor = LocalExecutor(store, isolation="none", progress=lambda e: notes.append(getattr(e, "text", "")))
    resumed = executor.run([task])[task.key]
    assert any("going on from the last finished epoch" in note for note in notes)
    assert isinstance(resumed, Done)
    assert isinstance(expected, Done)
    tensors, others = (load_file(done.artifact.file(file)) for done in (resumed, expected))
    assert tensors.keys() == others.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []
    assert len(resumed.artifact.meta["log"]["epochs"]) == EPOCHS
    assert not store.scratch(task.key).exists()


def test_scratch_survives_cleaning_and_goes_with_the_artifact(store: Store) -> None:
    key = "ab" * 32
    store.prepare()
    scratch = store.scratch(key)
    scratch.mkdir(parents=True)
    (scratch / "checkpoint").write_text("half")
    store.clean()
    assert (scratch / "checkpoint").read_text() == "half"
    with store.create(key, "train") as draft:
        (draft.path / "weights").write_text("whole")
    assert not scratch.exists()


def test_a_failed_stage_keeps_its_scratch(store: Store) -> None:
    key = "cd" * 32
    store.prepare()
    store.scratch(key).mkdir(parents=True)
    with pytest.raises(RuntimeError, match="half way"), store.create(key, "train"):
        raise RuntimeError("half way")
    assert store.scratch(key).is_dir()
