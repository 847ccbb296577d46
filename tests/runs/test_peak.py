"""What stands in the record of a run about the peaks of its machine."""

from __future__ import annotations

from harness.engine.graph import Task
from harness.engine.outcomes import Done, Failed
from harness.engine.store import Store
from harness.results import Variant
from harness.runs.peak import peaks_of, recorded_peaks
from harness.runs.plan import VariantPlan
from harness.stages.artifacts import PeakResult
from harness.stages.catalog import PEAK
from harness.stages.configs import PeakConfig


def plan(target: str, device: str | None = None) -> VariantPlan:
    name = target if device is None else f"{target}-{device}"
    variant = Variant(id=name, model="net", method="fp32", target=target, compute_capability=device, batch_size=1)
    return VariantPlan(variant, name)


def peak(threads: int) -> Task:
    return Task(PEAK, PeakConfig(machine="m", threads=threads))


def test_peaks_by_threads_and_the_reason_of_what_has_none(store: Store) -> None:
    result = PeakResult(macs_per_s={"FP32": 57.26e9, "INT8": 2e11}, missing={"BF16": "no such instructions"})
    with store.create("0" * 64, "peak") as draft:
        draft.meta.update(result.model_dump(mode="json"))
    done = Done(store.open("0" * 64), cached=False)
    failed = Failed(reason="it crashed", label="l", root="r", kind="crash")
    plans = [plan("onnxruntime"), plan("openvino"), plan("openvino", "GPU"), plan("tensorrt")]
    timed = {"onnxruntime", "openvino", "openvino-GPU"}
    found = recorded_peaks([(peak(1), done, ("onnxruntime",)), (peak(2), failed, ("openvino",))], plans, timed)
    assert found["peak_gmacs_per_s"] == {
        "1 thread": {"FP32": 57.3, "INT8": 200.0, "BF16": "no such instructions"},
        "2 threads": "not measured: it crashed",
        "openvino for GPU": "not measured: only the CPU's is",
    }
    assert peaks_of(done) == result.macs_per_s
    assert peaks_of(failed) == peaks_of(None) == {}


def test_a_run_that_times_nothing_records_nothing() -> None:
    assert recorded_peaks([], [plan("tensorrt")], set()) == {}
