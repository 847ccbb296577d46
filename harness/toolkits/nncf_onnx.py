"""Toolkit `nncf-onnx`: `nncf.quantize` of the FP32 ONNX file with NNCF's own placement, biases corrected in sequence.

The counterpart of `nncf-sequential`: what the target's placement is worth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from harness.errors import StageError
from harness.results import Variant
from harness.toolkits.base import Batches, NetworkSource, Request, Toolkit
from harness.toolkits.support.nncf_offline import import_nncf
from harness.toolkits.support.nncf_ranges import activation_ranges, refusal_of_own_placement
from harness.toolkits.support.onnx_nodes import nodes_of_modules


class NncfOnnx(Toolkit):
    """int8 weights and 8-bit activations where NNCF's preset for CPUs puts them."""

    name: ClassVar[str] = "nncf-onnx"
    distributions: ClassVar[tuple[str, ...]] = ("nncf", "onnx")
    modules: ClassVar[tuple[str, ...]] = ("nncf",)
    requirements: ClassVar[tuple[str, ...]] = ("nncf>=3.4,<3.5",)

    def refusal(self, variant: Variant) -> str | None:
        """It has no `entropy` calibrator, decides granularity itself, and its format is ONNX Runtime's."""
        if not variant.target.startswith("onnxruntime"):
            return f"NNCF's own placement writes asymmetric activations, which {variant.target} rejects"
        return refusal_of_own_placement(variant)

    def quantize(self, source: NetworkSource, destination: Path, batches: Batches, request: Request) -> None:
        """Quantize the FP32 file."""
        import onnx

        nncf = import_nncf()
        ranges = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=activation_ranges(request.calibrator, request.percentile)
        )
        skipped = nodes_of_modules(source.onnx_path, request.skip)
        try:
            model: Any = nncf.quantize(
                onnx.load(source.onnx_path),
                nncf.Dataset(batches, lambda batch: {"input": batch.numpy()}),
                subset_size=batches.count,
                preset=nncf.QuantizationPreset.MIXED,
                fast_bias_correction=False,
                ignored_scope=nncf.IgnoredScope(names=skipped) if skipped else None,
                advanced_parameters=ranges,
            )
        except Exception as error:  # it raises many kinds
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StageError(f"NNCF failed: {first_line}") from error
        onnx.save(model, destination)


TOOLKIT = NncfOnnx()
