"""From the tasks of a parity chain to evidence: a link that failed is missing with its reason, and the rest goes on."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from harness.engine.graph import Stage, Task
from harness.engine.outcomes import Done, Failed
from harness.engine.store import Store
from harness.runs.parity import Chain, evidence
from harness.stages.artifacts import LABELS, OUTPUTS


class Nothing(BaseModel):
    """A configuration that only tells tasks apart."""

    model_config = ConfigDict(frozen=True)
    name: str


def task(name: str) -> Task:
    return Task(Stage("evaluate", 1, "nowhere:nothing"), Nothing(name=name))


def failed(reason: str) -> Failed:
    return Failed(reason=reason, label="l", root="r", kind="StageError")


@pytest.fixture
def eager(store: Store) -> tuple[Task, Done]:
    """Outputs and labels of three samples."""
    made = task("eager")
    with store.create(made.key, "evaluate") as draft:
        np.save(draft.path / OUTPUTS, np.eye(3, dtype=np.float32))
        np.save(draft.path / LABELS, np.arange(3))
    return made, Done(store.open(made.key), cached=False)


def test_no_tasks_no_evidence() -> None:
    assert evidence(Chain(), {}) is None


def test_a_failed_link_is_absent_with_its_reason_and_so_are_the_layers() -> None:
    file, layers = task("file"), task("layers")
    chain = Chain({"onnx_quantized": file}, {"engine": "no GPU here"}, layers)
    outcomes = {file.key: failed("node `conv` has no kernel"), layers.key: failed("out of memory")}
    found = evidence(chain, outcomes)
    assert found is not None
    assert found.outputs == {}
    assert found.absent == {
        "engine": "no GPU here",
        "onnx_quantized": "node `conv` has no kernel",
        "layers": "out of memory",
    }


def test_outputs_and_labels_come_from_the_links_that_ran(eager: tuple[Task, Done]) -> None:
    made, outcome = eager
    file = task("file")
    found = evidence(Chain({"torch_fp32": made, "onnx_fp32": file}), {made.key: outcome, file.key: failed("no")})
    assert found is not None
    assert found.outputs["torch_fp32"].tolist() == np.eye(3).tolist()
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2]
    assert found.absent == {"onnx_fp32": "no"}
