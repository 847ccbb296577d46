"""`latency`: time of one inference, and how many times faster than FP32 in the same rounds."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from harness.metrics.base import Evidence, Metric
from harness.results import Latency
from harness.stats.intervals import quantile_with_interval
from harness.verdicts.latency import judge_speedup

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
            figures |= {f"{name}_ms": found and found.value, f"{name}_ci95": found and found.ci}
        figures["median_ms"] = float(np.median(samples))  # also where the samples are too few for its interval
        plain = Latency(
            **figures,
            n=len(samples),
            rounds=timings.n_rounds,
            processes=len(timings.blocks),
            builds=timings.n_builds,
            contaminated_rounds=timings.contaminated_rounds(),
            watched=evidence.watched,
            throughput_per_s=variant.batch_size * 1e3 / figures["median_ms"],
            threads=evidence.threads,
            includes_transfers=evidence.includes_transfers,
            parts_ms=dict(evidence.parts_ms),
        )
        if evidence.is_reference:
            return plain
        judged = judge_speedup(
            timings,
            evidence.reference_id,
            variant.id,
            confidence=judgement.confidence,
            margin=judgement.latency_margin,
            looks=evidence.looks,
        )
        return plain.model_copy(
            update={
                "reference": evidence.reference_id,
                "speedup": judged.estimate.ratio,
                "speedup_ci95": judged.ci,
                "looks": evidence.looks,
                "noise_floor": judged.noise_floor,
                "margin": judgement.latency_margin,
                "p_value": judged.claim.p_value,
                "verdict": judged.claim.verdict,
            }
        )


METRIC = LatencyMetric()
