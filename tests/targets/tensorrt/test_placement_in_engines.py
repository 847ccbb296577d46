"""The quantizer's placement, proven by the audit of engines: from torch to INT8 kernels."""

from pathlib import Path

import pytest
from oracles.networks import INPUT_SHAPE, captured, make_batch

from harness.exporting.fp16 import convert_to_fp16
from harness.exporting.macs import weighted_layers
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.targets.base import Target
from harness.targets.tensorrt.options import TensorRtBuildOptions


def export(target: Target, name: str, path: Path) -> Path:
    quantizer = target.quantizer(target.number_format(8, 8), per_channel=True, weight_calibrator=make_calibrator("max"))
    prepared = quantized.prepare(captured(name), quantizer)
    quantized.collect(prepared, make_batch())
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    export_onnx(quantized.convert(prepared), INPUT_SHAPE, path, integer_biases=target.integer_biases)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["residual", "depthwise", "concat"])
@pytest.mark.thorough(keep=2)
def test_every_convolution_and_gemm_multiplies_in_int8(rtx: Target, tmp_path: Path, name: str, precision: str):
    path = export(rtx, name, tmp_path / "q.onnx")
    if precision == "fp16":
        convert_to_fp16(path, tmp_path / "h.onnx", make_batch(4).numpy())
        path = tmp_path / "h.onnx"
    options = TensorRtBuildOptions(compute_capability="SM86", expects_int8=True, batch_profiles=((1, 4, 4),))
    layers = rtx.audit(rtx.build(path, tmp_path, options).path, path)
    weighted = [layer for layer in layers if layer.weight_type is not None]
    assert [layer.name for layer in weighted] == [layer.name for layer in weighted_layers(path)]
    assert [layer.name for layer in weighted if not layer.int8] == []
    # Whatever else touches float says why.
    assert all(layer.reason for layer in layers if not layer.int8)
