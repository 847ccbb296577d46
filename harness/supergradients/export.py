"""ONNX of a network that was quantized from Python, with the interface of SuperGradients' export function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from harness.errors import UsageError
from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.network import QuantizedNetwork


def export_quantized_module_to_onnx(
    model: torch.nn.Module,
    onnx_filename: Path | str,
    input_shape: Sequence[int] | None = None,
    train: bool = False,
    input_size: Sequence[int] | None = None,
) -> Path:
    """Write a calibrated network in Q/DQ form with int8 weights, opset 21 and a dynamic batch; the file.

    `input_shape` and `input_size`, (N, C, H, W), are checked against the network and need not be given. Raises
    UsageError when they do not fit, or for `train=True`: engines run the network in evaluation mode.
    """
    from harness.targets import get_target

    if not isinstance(model, QuantizedNetwork):
        raise UsageError(
            f"{type(model).__name__} is not quantized", fix="export what `SelectiveQuantizer.quantize_module` returns"
        )
    if train:
        raise UsageError("`train=True` would export training behaviour", fix="leave `train` out")
    for name, shape in (("input_shape", input_shape), ("input_size", input_size)):
        if shape is not None and tuple(shape[1:]) != model.input_shape:
            fitting = [1, *model.input_shape]
            raise UsageError(
                f"`{name}` {list(shape)} does not fit the network", fix=f"write {fitting}, or leave it out"
            )
    model.require_calibrated("export")
    path = Path(onnx_filename)
    converted = quantized.convert(model.prepared)
    export_onnx(converted, model.input_shape, path, integer_biases=get_target(model.target).integer_biases)
    return path
