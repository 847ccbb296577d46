"""Toolkit `onnxruntime`: `onnxruntime.quantization.quantize_static` with its documented set-up."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from harness.results import Variant
from harness.targets import get_target
from harness.targets.base import Availability
from harness.toolkits.base import Batches, NetworkSource, Request, Toolkit
from harness.toolkits.support.onnx_nodes import nodes_of_modules

_METHODS = {"max": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_REDUCED_RANGE_BITS = 7


class OnnxRuntimeStatic(Toolkit):
    """uint8 activations and int8 weights in Q/DQ form after ONNX Runtime's own pre-processing."""

    name: ClassVar[str] = "onnxruntime"
    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    modules: ClassVar[tuple[str, ...]] = ("onnxruntime.quantization",)

    def availability(self) -> Availability:
        """Usable wherever the target `onnxruntime` is."""
        return get_target("onnxruntime").availability()

    def refusal(self, variant: Variant) -> str | None:
        """It has no `mse` calibrator, and writes uint8 activations that only its own engine takes."""
        if variant.calibrator not in _METHODS:
            return f"quantize_static has no `{variant.calibrator}` calibrator; it has {', '.join(sorted(_METHODS))}"
        if not variant.target.startswith("onnxruntime"):
            return f"quantize_static writes asymmetric uint8 activations, which {variant.target} rejects"
        if variant.activation_bits != 8 or variant.weight_bits not in (_REDUCED_RANGE_BITS, 8):
            return "quantize_static writes 8-bit activations and 8-bit (or reduced-range 7-bit) weights only"
        return None

    def quantize(self, source: NetworkSource, destination: Path, batches: Batches, request: Request) -> None:
        """Pre-process, calibrate and write the file."""
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        logging.getLogger().setLevel(logging.ERROR)  # its calibrators report every tensor on the root logger
        extra: dict[str, Any] = {"CalibPercentile": request.percentile} if request.percentile is not None else {}
        with tempfile.TemporaryDirectory() as folder:
            original, prepared = source.onnx_path.resolve(), Path(folder) / "prepared.onnx"
            with contextlib.chdir(folder):  # before it gives up, it leaves a file in the working directory
                try:
                    quant_pre_process(str(original), str(prepared))
                except Exception:  # a bare Exception: it cannot work out the shapes behind, for instance, `Resize`
                    quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(destination),
                _reader(batches),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=request.per_channel,
                reduce_range=request.weight_bits == _REDUCED_RANGE_BITS,
                nodes_to_exclude=nodes_of_modules(prepared, request.skip),
                calibrate_method=CalibrationMethod[_METHODS[request.calibrator]],
                extra_options=extra,
            )


def _reader(batches: Batches) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    remaining = iter(batches)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped base class
        """Hands out each batch once."""

        def get_next(self) -> dict[str, Any] | None:
            batch = next(remaining, None)
            return None if batch is None else {"input": batch.numpy()}

    return Reader()


TOOLKIT = OnnxRuntimeStatic()
