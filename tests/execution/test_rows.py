"""Rows whose figures cannot be believed say so."""

from __future__ import annotations

import numpy as np

from harness.execution.plan import VariantPlan
from harness.execution.rows import Findings, make_row
from harness.metrics.base import Evidence, Judgement
from harness.results import Row, Variant

VARIANT = Variant(id="ptq", model="net", method="ptq", target="onnxruntime", batch_size=1)
JUDGEMENT = Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.01)


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
    return make_row(VariantPlan(VARIANT, "fp32"), evidence, Findings(outcomes={}))


def test_outputs_with_nan_fail_the_row() -> None:
    outputs = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    assert row(outputs).status == "ok"
    outputs[7, 2] = outputs[9, 0] = np.nan
    found = row(outputs)
    assert found.status == "failed"
    assert "NaN for 2 of 20 test samples, first for number 7" in (found.reason or "")
    assert Row.model_validate_json(found.model_dump_json()) == found
