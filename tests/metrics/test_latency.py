"""Figures of latency from few samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.metrics.base import Evidence
from harness.metrics.latency import METRIC, share_of_peak
from harness.results import Latency, Layer, Variant
from harness.timing.samples import AA_CONTROL, ProcessRounds, Round, Timings
from harness.verdicts.settings import Judgement

VARIANT = Variant(id="ptq", model="net", method="ptq", target="onnxruntime", batch_size=1)


def latency(times_ms: dict[str, list[list[float]]], confidence: float) -> Latency:
    """One inference per round; by session, one list per process."""
    processes = range(len(times_ms["fp32"]))
    blocks = [
        ProcessRounds(0, process, tuple(_round(times_ms, process, number) for number in range(3)))
        for process in processes
    ]
    judgement = Judgement(confidence=confidence, accuracy_margin=0.005, latency_margin=0.01)
    found = METRIC.compute(
        Evidence(variant=VARIANT, judgement=judgement, is_reference=False, reference_id="fp32", timings=Timings(blocks))
    )
    assert found is not None
    return found


def _round(times_ms: dict[str, list[list[float]]], process: int, number: int) -> Round:
    return Round({name: np.array([times[process][number]]) for name, times in times_ms.items()})


def test_a_median_without_an_interval_is_still_a_median() -> None:
    """Six inferences, as of a slow network in two processes, suffice for an interval at 95 %, not at 99 %."""
    times = {"fp32": [[2.0, 2.1, 2.2], [2.3, 2.4, 2.5]], "ptq": [[1.0, 1.1, 1.2], [1.3, 1.4, 1.5]]}
    assert latency(times, 0.95).median_interval.ends == (1.0, 1.5)
    found = latency(times, 0.99)
    assert (found.median_ms, found.median_interval, found.p90_ms) == (pytest.approx(1.25), None, None)
    assert found.speedup_interval is not None


def test_two_processes_that_disagree_prove_nothing_at_a_high_confidence() -> None:
    """The interval is wider than floats can say, and can still be written and read."""
    times = {"fp32": [[2.0] * 3, [2.0] * 3], AA_CONTROL: [[2.0] * 3, [2.2] * 3], "ptq": [[1.0] * 3, [1.2] * 3]}
    found = latency(times, 0.99999)
    assert found.speedup_interval.ends == (0.0, math.inf)
    assert found.noise_floor == math.inf
    assert found.comparison.p_value is not None and found.comparison.p_value > 1e-5
    assert Latency.model_validate_json(found.model_dump_json()) == found


def test_a_row_of_another_target_has_both_speedups() -> None:
    times = {name: [[ms] * 3, [ms * 1.001] * 3] for name, ms in (("fp32", 2.0), ("other", 1.5), ("ptq", 0.5))}
    timings = Timings([ProcessRounds(0, n, tuple(_round(times, n, number) for number in range(3))) for n in range(2)])

    def found(variant_id: str, reference: str) -> Latency:
        record = METRIC.compute(
            Evidence(
                variant=VARIANT.model_copy(update={"id": variant_id}),
                judgement=Judgement(confidence=0.95, accuracy_margin=0.005, latency_margin=0.01),
                is_reference=variant_id == reference,
                reference_id=reference,
                timings=timings,
                timing_reference_id="fp32",
            )
        )
        assert record is not None
        return record

    ptq, other, fp32 = found("ptq", "other"), found("other", "other"), found("fp32", "fp32")
    assert (ptq.comparison.reference, ptq.speedup) == ("other", pytest.approx(3.0))
    assert ptq.across is not None and ptq.across.comparison.reference == "fp32"
    assert ptq.across.speedup == pytest.approx(4.0)
    assert other.speedup is None
    assert other.across is not None and other.across.speedup == pytest.approx(2.0 / 1.5)
    assert (fp32.speedup, fp32.across) == (None, None)
    crashed = found("ptq", "not timed")
    assert crashed.speedup is None and crashed.across is not None


def layer(weight_type: str | None, macs: int, *, int8: bool = False) -> Layer:
    return Layer(
        name="l", op="o", input_type="float", weight_type=weight_type, output_type="float", macs=macs, int8=int8
    )


PEAKS = {"FP32": 5e6, "INT8": 20e6}
MIXED = (layer("int8", 40_000, int8=True), layer(None, 0), layer("float", 5_000))


def test_each_layer_counts_at_the_peak_of_its_own_precision() -> None:
    # Two samples: 80,000 / 20e6 s = 4 ms in INT8 and 10,000 / 5e6 s = 2 ms in FP32 make 6 of 24 ms.
    assert share_of_peak(MIXED, PEAKS, batch_size=2, median_ms=24.0) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("layers", "peaks"),
    [(MIXED, {}), (MIXED, {"INT8": 20e6}), ((*MIXED, layer("unknown", 1)), PEAKS), ((layer(None, 0),), PEAKS)],
)
def test_no_share_of_a_peak_that_is_not_known(layers: tuple[Layer, ...], peaks: dict[str, float]) -> None:
    assert share_of_peak(layers, peaks, batch_size=1, median_ms=1.0) is None
