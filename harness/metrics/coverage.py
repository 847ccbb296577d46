"""`coverage`: share of the multiply-accumulates that the built engine executes on integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harness.metrics.base import Evidence, Metric
from harness.results import Coverage, Layer


class CoverageMetric(Metric):
    """From the audit of the engine, never from the ONNX file."""

    name: ClassVar[str] = "coverage"
    section: ClassVar[str | None] = "coverage"

    def compute(self, evidence: Evidence) -> Coverage | None:
        """Over conv and gemm layers."""
        return coverage_of(evidence.layers)


def coverage_of(layers: Sequence[Layer]) -> Coverage | None:
    """INT8 coverage of audited layers; None when none of them has weights."""
    weighted = [layer for layer in layers if layer.weight_type is not None]
    if not weighted:
        return None
    integer = [layer for layer in weighted if layer.int8]
    macs = sum(layer.macs for layer in weighted)
    return Coverage(
        int8_macs=sum(layer.macs for layer in integer) / macs if macs else 0.0,
        int8_layers=f"{len(integer)}/{len(weighted)}",
        layers=tuple(layers),
    )


METRIC = CoverageMetric()
