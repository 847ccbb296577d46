"""`latency`: time of one inference, and how many times faster than FP32 in the same rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from harness.compare.statistics import Speedup, quantile_with_interval, speedup
from harness.compare.verdict import latency_verdict
from harness.metrics.base import Evidence, Metric
from harness.metrics.interleaved import TWIN, Timings
from harness.results import Latency, Verdict


@dataclass(frozen=True)
class JudgedSpeedup:
    """A speedup and what it proves."""

    speedup: Speedup
    noise_floor: float | None
    """Relative: the farthest the interval of the twin's ratio reaches from 1."""
    verdict: Verdict


def judge_speedup(
    timings: Timings, reference: str, name: str, *, confidence: float, margin: float, seed: int = 0
) -> JudgedSpeedup:
    """Reference time over the variant's, round by round, against the margin and the session's noise."""

    def against_reference(other: str) -> Speedup:
        return speedup(timings.round_medians(reference), timings.round_medians(other), confidence=confidence, seed=seed)

    noise = None
    if TWIN in timings.rounds:
        twin = against_reference(TWIN)
        noise = math.exp(max(abs(math.log(end)) for end in twin.ci)) - 1.0
    measured = against_reference(name)
    return JudgedSpeedup(measured, noise, latency_verdict(measured.ci, margin, noise))


class LatencyMetric(Metric):
    """Milliseconds per inference of `batch_size` samples."""

    name: ClassVar[str] = "latency"
    section: ClassVar[str | None] = "latency"

    def compute(self, evidence: Evidence) -> Latency | None:
        """None when the variant was not timed."""
        timings, variant = evidence.timings, evidence.variant
        if timings is None or variant.id not in timings.rounds:
            return None
        judgement = evidence.judgement
        samples = timings.samples(variant.id)
        quantiles = {q: quantile_with_interval(samples, q, judgement.confidence) for q in (0.5, 0.9, 0.99)}
        median, p90, p99 = (None if estimate is None else estimate.value for estimate in quantiles.values())
        if median is None:
            return None
        plain = Latency(
            median_ms=median,
            p90_ms=p90,
            p99_ms=p99,
            n=len(samples),
            rounds=timings.n_rounds,
            throughput_per_s=variant.batch_size * 1e3 / median,
            threads=evidence.threads,
            includes_transfers=evidence.includes_transfers,
        )
        if evidence.is_reference:
            return plain
        judged = judge_speedup(
            timings,
            evidence.reference_id,
            variant.id,
            confidence=judgement.confidence,
            margin=judgement.latency_margin,
            seed=judgement.seed,
        )
        return plain.model_copy(
            update={
                "reference": evidence.reference_id,
                "speedup": judged.speedup.ratio,
                "speedup_ci95": judged.speedup.ci,
                "noise_floor": judged.noise_floor,
                "margin": judgement.latency_margin,
                "verdict": judged.verdict,
            }
        )


METRIC = LatencyMetric()
