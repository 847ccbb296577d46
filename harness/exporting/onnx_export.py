"""From a captured or Q/DQ network to a checked ONNX file with a dynamic batch."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from torch.fx import GraphModule

from harness.errors import StageError
from harness.exporting import passes
from harness.exporting.gemm_pass import use_gemm
from harness.exporting.onnx_template import OnnxTemplate, has_numbers, template_of
from harness.exporting.torch_onnx import optimized, written_by_torch
from harness.exporting.translations import reset_after_product


def export_onnx(
    graph_module: GraphModule,
    input_shape: tuple[int, ...],
    path: Path,
    *,
    integer_biases: bool,
    template: OnnxTemplate | None = None,
) -> None:
    """Write `graph_module` as one self-contained ONNX file at `path`.

    `input_shape` is (C, H, W). `integer_biases` writes the biases of integer convolutions and gemms as int32, which
    ONNX Runtime needs to run a last layer with float output on integers. A `template` of the same graph saves most of
    the time and makes the same file; another one is not used. Raises StageError when the exporter or `onnx.checker`
    refuses the network.
    """
    model = optimized(_written(graph_module, input_shape, template))
    reset_after_product(model)
    passes.use_global_average_pool(model)
    passes.use_flatten(model)
    passes.name_nodes_after_modules(model)
    passes.use_constant_shapes(model)
    passes.drop_unused(model)
    if integer_biases:
        passes.dequantize_across_channels(model)
        use_gemm(model)
        passes.drop_unused(model)
        passes.own_weights(model)
    passes.own_weight_constants(model)
    if integer_biases:
        passes.quantize_biases(model)
    passes.fix_names(model)
    passes.strip_metadata(model)
    model.producer_name, model.producer_version = "quant-harness", None
    ir.save(model, path)
    check_onnx(path)


def _written(graph_module: GraphModule, input_shape: tuple[int, ...], template: OnnxTemplate | None) -> ir.Model:
    """The graph before optimization; that of a quantized network always from a template, so that files are equal."""
    if not has_numbers(graph_module):
        return written_by_torch(graph_module, input_shape)
    if template is None or not template.fits(graph_module):
        template = template_of(graph_module, input_shape)
    return written_by_torch(graph_module, input_shape) if template is None else template.filled(graph_module)


def check_onnx(path: Path) -> None:
    """Run `onnx.checker` with shape inference; StageError when it refuses the file."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"onnx.checker refuses {path.name}: {str(error).strip().splitlines()[0]}") from error
