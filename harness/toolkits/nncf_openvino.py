"""Toolkit `nncf-openvino`: `nncf.quantize` of the network as OpenVINO's own model, with NNCF's defaults.

The result is OpenVINO's IR with FakeQuantize nodes, as NNCF's documentation deploys it. It is what is built and timed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from harness.errors import StageError
from harness.results import Variant
from harness.toolkits.base import Batches, NetworkSource, Request, Toolkit
from harness.toolkits.support.nncf_offline import import_nncf
from harness.toolkits.support.nncf_ranges import activation_ranges, refusal_of_own_placement
from harness.toolkits.support.onnx_nodes import names_of_modules


class NncfOpenVino(Toolkit):
    """int8 weights per channel and 8-bit activations where NNCF's default preset puts them; fast bias correction."""

    name: ClassVar[str] = "nncf-openvino"
    distributions: ClassVar[tuple[str, ...]] = ("nncf", "openvino")
    modules: ClassVar[tuple[str, ...]] = ("nncf",)
    requirements: ClassVar[tuple[str, ...]] = ("nncf>=3.4,<3.5", "openvino>=2026.1")
    suffix: ClassVar[str] = ".xml"

    def refusal(self, variant: Variant) -> str | None:
        """It has no `entropy` calibrator, and decides granularity itself."""
        return refusal_of_own_placement(variant)

    def read(self, onnx_path: Path) -> Any:
        """The FP32 file with its weights in the shape in which layers read them.

        OpenVINO reads weights of depthwise convolutions and biases with a Reshape behind them. NNCF 3.4 takes the wrong
        axis of such weights for the channels and corrects no such bias.
        """
        import openvino
        from openvino.passes import ConstantFolding, Manager

        network = openvino.Core().read_model(onnx_path)
        folding = Manager()
        folding.register_pass(ConstantFolding())
        folding.run_passes(network)
        return network

    def quantize(self, source: NetworkSource, destination: Path, batches: Batches, request: Request) -> None:
        """Quantize the network and save it as IR."""
        nncf = import_nncf()
        import openvino

        network = self.read(source.onnx_path)
        skipped = names_of_modules([op.get_friendly_name() for op in network.get_ops()], request.skip)
        ranges = activation_ranges(request.calibrator, request.percentile)
        try:
            quantized: Any = nncf.quantize(
                network,
                nncf.Dataset(batches, lambda batch: batch.numpy()),
                subset_size=batches.count,
                ignored_scope=nncf.IgnoredScope(names=skipped) if skipped else None,
                advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
            )
        except Exception as error:  # it raises many kinds
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StageError(f"NNCF failed: {first_line}") from error
        openvino.save_model(quantized, destination, compress_to_fp16=False)


TOOLKIT = NncfOpenVino()
