"""Rows whose figures cannot be believed say so."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness.engine.graph import Stage, Task
from harness.engine.outcomes import Done
from harness.engine.store import Store
from harness.metrics.base import Evidence
from harness.results import Row, Variant
from harness.runs.plan import VariantPlan
from harness.runs.rows import RunOutcomes, collect_evidence, make_row
from harness.stages.artifacts import LABELS, OUTPUTS
from harness.verdicts.settings import Judgement

VARIANT = Variant(id="ptq", model="net", method="ptq", target="onnxruntime", batch_size=1)
JUDGEMENT = Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.01)


class Named(BaseModel):
    """A configuration that only tells tasks apart."""

    model_config = ConfigDict(frozen=True)
    name: str


def row(outputs: np.ndarray) -> Row:
    fp32 = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    evidence = Evidence(
        variant=VARIANT,
        judgement=JUDGEMENT,
        is_reference=False,
        reference_id="fp32",
        labels=np.arange(20) % 4,
        outputs=outputs,
        reference_outputs=fp32,
        torch_outputs=fp32,
    )
    return make_row(VariantPlan(VARIANT, "fp32"), evidence, RunOutcomes(outcomes={}))


def test_nothing_is_compared_with_an_fp32_row_of_nan(store: Store) -> None:
    """Every variant would look better than it."""

    def gathered(fp32: np.ndarray, key: str) -> Evidence:
        task = Task(Stage("evaluate", 1, "nowhere:nothing"), Named(name=key))
        with store.create(task.key, "evaluate") as draft:
            np.save(draft.path / OUTPUTS, fp32)
            np.save(draft.path / LABELS, np.arange(4))
        done = Done(store.open(task.key), cached=False)
        reference = VariantPlan(VARIANT.model_copy(update={"id": "fp32"}), "fp32", tasks={"outputs": task})
        return collect_evidence(
            VariantPlan(VARIANT, "fp32"), reference, RunOutcomes({task.key: done}), JUDGEMENT, threads=1
        )

    sound = np.eye(4, dtype=np.float32)
    broken = sound.copy()
    broken[2, 1] = np.nan
    assert gathered(sound, "sound").reference_outputs is not None
    assert gathered(broken, "broken").reference_outputs is None
    assert gathered(broken, "broken too").labels is not None


def test_outputs_with_nan_fail_the_row() -> None:
    outputs = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    assert row(outputs).status == "ok"
    outputs[7, 2] = outputs[9, 0] = np.nan
    found = row(outputs)
    assert found.status == "failed"
    assert "NaN for 2 of 20 test samples, first for number 7" in (found.reason or "")
    assert Row.model_validate_json(found.model_dump_json()) == found
