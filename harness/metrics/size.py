"""`size`: bytes of the ONNX file, of the engine, and of the weights in it."""

from __future__ import annotations

from typing import ClassVar

from harness.metrics.base import Evidence, Metric
from harness.results import Size


class SizeMetric(Metric):
    """Three different numbers."""

    name: ClassVar[str] = "size"
    section: ClassVar[str | None] = "size"

    def compute(self, evidence: Evidence) -> Size | None:
        """Bytes on disk, and bytes of weights as the engine holds them."""
        if evidence.onnx_path is None and evidence.engine_path is None:
            return None
        return Size(
            onnx_bytes=evidence.onnx_path.stat().st_size if evidence.onnx_path else None,
            engine_bytes=evidence.engine_path.stat().st_size if evidence.engine_path else None,
            weight_bytes=evidence.weight_bytes,
        )


METRIC = SizeMetric()
