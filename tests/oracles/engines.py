"""From a captured network to a calibrated one, a file and an engine of the target `onnxruntime`."""

from __future__ import annotations

from pathlib import Path

import torch
from oracles.networks import INPUT_SHAPE, captured, make_batch
from torch.fx import GraphModule

from harness.exporting.onnx_export import export_onnx
from harness.quantization import prepared as quantized
from harness.quantization.calibrators import make_calibrator
from harness.quantization.placement.quantizer import PlacementQuantizer
from harness.quantization.placement.rules import RuleSet
from harness.results import Variant
from harness.targets import get_target
from harness.targets.base import Engine

TARGET = get_target("onnxruntime")


def variant(**changes: object) -> Variant:
    fields = {"id": "v", "model": "m", "method": "ptq", "target": "onnxruntime", "batch_size": 1} | changes
    return Variant.model_validate(fields)


def prepare(name: str, per_channel: bool = True, skip: tuple[str, ...] = (), weight_bits: int = 8) -> GraphModule:
    """A network of `oracles.networks`, quantized for ONNX Runtime."""
    quantizer = TARGET.quantizer(
        TARGET.number_format(weight_bits, 8),
        per_channel=per_channel,
        weight_calibrator=make_calibrator("max"),
        rules=RuleSet(skip=skip),
    )
    return calibrated(captured(name), quantizer, make_batch())


def calibrated(graph: GraphModule, quantizer: PlacementQuantizer, batch: torch.Tensor) -> GraphModule:
    """The network with the ranges of this batch."""
    prepared = quantized.prepare(graph, quantizer)
    quantized.collect(prepared, batch)
    quantized.set_ranges(prepared, quantized.collected_histograms(prepared), make_calibrator("max"))
    return prepared


def build(prepared: GraphModule, folder: Path, input_shape: tuple[int, int, int] = INPUT_SHAPE) -> tuple[Path, Engine]:
    """The ONNX file and the engine built from it."""
    path = folder / "model.onnx"
    export_onnx(quantized.convert(prepared), input_shape, path, integer_biases=True)
    return path, TARGET.build(path, folder, TARGET.build_options(variant(weight_bits=8), threads=1))
