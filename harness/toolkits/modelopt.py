"""Toolkit `modelopt`: NVIDIA's `modelopt.torch.quantization`, int8 symmetric, exported through TorchScript.

The configuration is its INT8_DEFAULT_CFG without the name patterns: those are meant for language models (`output.*`,
`proj_out.*`, `*visual*`, …) and would silently leave any layer of such a name in float. Batch norm stays as it is,
as in modelopt's documentation; `modelopt-folded` folds it first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import StageError
from harness.results import Variant
from harness.toolkits.base import Batches, NetworkSource, Request, Toolkit

if TYPE_CHECKING:
    import torch

METHODS = ("entropy", "max", "percentile")
BATCH = 64
"""Its histograms take their bin width from the first batch, so that the batch size is part of the method."""
OPSET = 17
UNQUANTIZED_TYPES = ("nn.BatchNorm1d", "nn.BatchNorm2d", "nn.BatchNorm3d", "nn.LeakyReLU", "nn.Embedding")


class ModelOpt(Toolkit):
    """Input and weight quantizers at convolutions, linear layers and pools."""

    name: ClassVar[str] = "modelopt"
    # It imports requests and huggingface_hub without declaring them.
    distributions: ClassVar[tuple[str, ...]] = ("nvidia-modelopt", "requests", "huggingface-hub")
    modules: ClassVar[tuple[str, ...]] = ("modelopt.torch.quantization",)
    requirements: ClassVar[tuple[str, ...]] = ("nvidia-modelopt>=0.47,<0.48", "requests>=2.31", "huggingface-hub>=1.0")

    def refusal(self, variant: Variant) -> str | None:
        """8-bit integers only; its `mse` search is refused because it does not work.

        In 0.47, `calib.histogram._compute_amax_mse` calls `fake_tensor_quant(centers, amax, num_bits, unsigned)`, but
        the third parameter of that function is a bias: the search subtracts 8 and rounds to 0 bits.
        """
        if variant.calibrator == "mse":
            return "modelopt 0.47's `mse` search passes its bit width as a bias, so that its ranges mean nothing"
        if variant.calibrator not in METHODS:
            return f"modelopt has no `{variant.calibrator}` calibrator; it has {', '.join(METHODS)}"
        if (variant.weight_bits, variant.activation_bits) != (8, 8):
            return "modelopt exports 8-bit weights and activations to ONNX only"
        return None

    def prepared_network(self, source: NetworkSource) -> torch.nn.Module:
        """The eager network that modelopt gets."""
        return source.make_network()

    def quantize(self, source: NetworkSource, destination: Path, batches: Batches, request: Request) -> None:
        """Insert quantizers, choose their ranges, export."""
        from harness.quantization.capture.graph import quiet_torch

        network = self.prepared_network(source)
        try:
            with quiet_torch():
                import modelopt.torch.quantization as mtq

                mtq.quantize(network, configuration(request))
                _choose_ranges(network, batches.of(BATCH), request)
                _export(network, source.input_shape, destination)
        except Exception as error:  # it raises many kinds
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StageError(f"modelopt failed: {first_line}") from error


def configuration(request: Request) -> dict[str, Any]:
    """INT8_DEFAULT_CFG for this request: quantizers enabled by kind, then disabled by type and by skipped module."""
    histogram = request.calibrator != "max"
    activations = {"num_bits": 8, "axis": None, "calibrator": "histogram" if histogram else "max"}
    return {
        "quant_cfg": [
            {"quantizer_name": "*", "enable": False},
            {
                "quantizer_name": "*weight_quantizer",
                "cfg": {"num_bits": 8, "axis": 0 if request.per_channel else None},
            },
            {"quantizer_name": "*input_quantizer", "cfg": activations},
            *({"quantizer_name": "*", "parent_class": kind, "enable": False} for kind in UNQUANTIZED_TYPES),
            *({"quantizer_name": f"{module}.*", "enable": False} for module in request.skip),
        ],
        "algorithm": None,
    }


def _choose_ranges(network: torch.nn.Module, batches: Batches, request: Request) -> None:
    """As `modelopt.torch.quantization.calib` documents it: collect, then load amax by method."""
    import torch
    from modelopt.torch.quantization.calib import HistogramCalibrator
    from modelopt.torch.quantization.model_calib import enable_stats_collection
    from modelopt.torch.quantization.nn import TensorQuantizer

    enable_stats_collection(network)
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for module in network.modules():
        if isinstance(module, TensorQuantizer) and module.is_enabled:
            if isinstance(module._calibrator, HistogramCalibrator):
                options = {"percentile": request.percentile} if request.percentile is not None else {}
                module.load_calib_amax(request.calibrator, **options)
            else:  # weights, and activations under `max`
                module.load_calib_amax()
            module.enable_quant()
            module.disable_calib()


def _export(network: torch.nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """TorchScript: `torch.export` cannot follow modelopt's quantizers."""
    import torch

    from harness.exporting.torch_onnx import INPUT_NAME, OUTPUT_NAME

    torch.onnx.export(
        network,
        (torch.zeros(2, *input_shape),),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
    )


TOOLKIT = ModelOpt()
