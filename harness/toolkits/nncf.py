"""Toolkit `nncf`: NNCF's PT2E quantization with the target's own placement, and fast bias correction.

Source: `nncf.experimental.torch.fx.quantize_pt2e` of NNCF 3. It is marked experimental; this file is the only one that
knows it. Ranges differ from the harness' own by design: NNCF takes the smallest and largest value (or the quantile) of
each batch and averages over batches. Batches hold one sample here, so that the average is over samples and does not
depend on any batch size.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import StageError
from harness.results import Variant
from harness.targets import get_target
from harness.toolkits.base import Batches, NetworkSource, Request, Toolkit
from harness.toolkits.support.nncf_offline import import_nncf
from harness.toolkits.support.nncf_ranges import METHODS, activation_ranges

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Nncf(Toolkit):
    """Ranges and corrected biases by NNCF; number format, placement and export are the target's."""

    name: ClassVar[str] = "nncf"
    distributions: ClassVar[tuple[str, ...]] = ("nncf",)
    modules: ClassVar[tuple[str, ...]] = ("nncf",)
    requirements: ClassVar[tuple[str, ...]] = ("nncf>=3.4,<3.5",)
    fast: ClassVar[bool] = True
    """Correct all biases from one pass; else one after the other, each seeing the errors of those before it."""

    def refusal(self, variant: Variant) -> str | None:
        """It has no `entropy` calibrator, and 8-bit integers only."""
        if variant.calibrator not in METHODS:
            return f"NNCF has no `{variant.calibrator}` calibrator; it has {', '.join(sorted(METHODS))}"
        if (variant.weight_bits, variant.activation_bits) != (8, 8):
            return "NNCF's PT2E quantization knows 8-bit weights and activations only"
        return None

    def quantize(self, source: NetworkSource, destination: Path, batches: Batches, request: Request) -> None:
        """Quantize the captured graph and export it as the harness exports its own."""
        from harness.exporting.onnx_export import export_onnx
        from harness.quantization.capture.graph import quiet_torch

        target = get_target(request.target)
        with quiet_torch():
            graph = self._quantized(source, batches, request)
        export_onnx(graph, source.input_shape, destination, integer_biases=target.integer_biases)

    def _quantized(self, source: NetworkSource, batches: Batches, request: Request) -> GraphModule:
        nncf = import_nncf()
        from nncf.experimental.torch.fx import quantize_pt2e

        from harness.toolkits.support.nncf_quantizer import ReadableQuantizer, write_batch_norms_as_affine

        graph = source.make_graph()
        write_batch_norms_as_affine(graph)  # NNCF would fold them, whoever else reads the layer
        for parameter in graph.parameters():
            parameter.requires_grad_(False)
        try:
            quantized: GraphModule = quantize_pt2e(
                graph,
                ReadableQuantizer(source.make_quantizer()),
                nncf.Dataset(batches),
                subset_size=batches.count,
                fast_bias_correction=self.fast,
                activations_range_estimator_params=activation_ranges(request.calibrator, request.percentile),
            )
        except Exception as error:  # an experimental interface may fail in any way
            raise StageError(f"NNCF failed: {_first_line(error)}") from error
        return quantized


def _first_line(error: BaseException) -> Any:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


TOOLKIT = Nncf()
