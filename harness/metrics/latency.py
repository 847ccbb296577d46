"""`latency`: time of one inference, and how many times faster than FP32 in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from harness.metrics.base import Evidence, Metric
from harness.results import ConfidenceInterval, Latency, Layer, PairedComparison, Speedup
from harness.stats.intervals import quantile_with_interval
from harness.timing.samples import Timings
from harness.verdicts.latency import JudgedSpeedup, judge_speedup

_DISTRIBUTION = (0.05, 0.25, 0.5, 0.75, 0.95)
_QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class LatencyMetric(Metric):
    """Milliseconds per inference of `batch_size` samples."""

    name: ClassVar[str] = "latency"
    section: ClassVar[str | None] = "latency"

    def compute(self, evidence: Evidence) -> Latency | None:
        """None when the variant was not timed."""
        timings, variant, judgement = evidence.timings, evidence.variant, evidence.judgement
        if timings is None or variant.id not in timings.names:
            return None
        samples = timings.samples(variant.id)
        figures: dict[str, Any] = {}
        for name, quantile in _QUANTILES.items():
            found = quantile_with_interval(samples, quantile, judgement.confidence)
            interval = found and ConfidenceInterval.of(found.ci, judgement.confidence)
            figures |= {f"{name}_ms": found and found.value, f"{name}_interval": interval}
        figures["median_ms"] = float(np.median(samples))  # also where the samples are too few for its interval
        plain = Latency(
            **figures,
            distribution_ms=tuple(np.quantile(samples, _DISTRIBUTION).tolist()),
            n=len(samples),
            rounds=timings.n_rounds,
            processes=len(timings.blocks),
            builds=timings.n_builds,
            contaminated_rounds=timings.contaminated_rounds(),
            watched=evidence.watched,
            throughput_per_s=variant.batch_size * 1e3 / figures["median_ms"],
            by_streams=evidence.by_streams,
            share_of_peak=share_of_peak(evidence.layers, evidence.peaks, variant.batch_size, figures["median_ms"]),
            threads=evidence.threads,
            includes_transfers=evidence.includes_transfers,
            parts_ms=dict(evidence.parts_ms),
        )
        plain = plain.model_copy(update={"across": _across(evidence, timings)})
        if evidence.is_reference or evidence.reference_id not in timings.names:
            return plain
        judged = _judged(evidence, timings, evidence.reference_id)
        return plain.model_copy(
            update={
                "comparison": _comparison(judged, evidence, evidence.reference_id),
                "own_verdict": judged.own_verdict.verdict,
                "analyses": evidence.analyses,
                "noise_floor": judged.noise_floor,
            }
        )


def share_of_peak(
    layers: Sequence[Layer], macs_per_s: Mapping[str, float], batch_size: int, median_ms: float
) -> float | None:
    """Time that the layers' multiply-accumulates take at the peak of their precisions, as a share of the median.

    None where a layer multiplies in a precision whose peak, or which itself, is not known.
    """
    ideal_s = 0.0
    for layer in layers:
        peak = macs_per_s.get(layer.precision or "")
        if layer.macs and peak is None:
            return None
        ideal_s += batch_size * layer.macs / peak if peak else 0.0
    return ideal_s * 1e3 / median_ms if ideal_s else None


def _across(evidence: Evidence, timings: Timings) -> Speedup | None:
    """Against FP32 on another target; None where the row's own FP32 is what the whole group was timed with."""
    reference = evidence.timing_reference_id
    if reference in (None, evidence.reference_id):
        return None
    assert reference is not None
    judged = _judged(evidence, timings, reference)
    return Speedup(
        comparison=_comparison(judged, evidence, reference),
        own_verdict=judged.own_verdict.verdict,
        noise_floor=judged.noise_floor,
    )


def _judged(evidence: Evidence, timings: Timings, reference: str) -> JudgedSpeedup:
    return judge_speedup(
        timings,
        reference,
        evidence.variant.id,
        confidence=evidence.judgement.confidence,
        margin=evidence.judgement.latency_margin,
        analyses=evidence.analyses,
        aa_control_of=evidence.timing_reference_id,
    )


def _comparison(judged: JudgedSpeedup, evidence: Evidence, reference: str) -> PairedComparison:
    """Not judged yet; FP32 is once as fast as itself."""
    low, high = judged.ci
    return PairedComparison(
        reference=reference,
        value=judged.estimate.ratio,
        reference_value=1.0,
        kind="ratio",
        difference=judged.estimate.ratio - 1,
        interval=ConfidenceInterval(low=low - 1, high=high - 1, confidence=evidence.judgement.confidence),
        margin=evidence.judgement.latency_margin,
        p_value=judged.own_verdict.p_value,
    )


METRIC = LatencyMetric()
