"""From a captured or Q/DQ network to a checked ONNX file with a dynamic batch."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from torch.fx import Graph, GraphModule, Node

from harness.errors import StageError
from harness.exporting import passes
from harness.exporting.gemm_pass import use_gemm
from harness.exporting.translations import reset_after_product, translations
from harness.quantization.capture.graph import MAX_BATCH, quiet_torch

OPSET = 21
INPUT_NAME = "input"
OUTPUT_NAME = "logits"


def export_onnx(graph_module: GraphModule, input_shape: tuple[int, ...], path: Path, *, integer_biases: bool) -> None:
    """Write `graph_module` as one self-contained ONNX file at `path`.

    `input_shape` is (C, H, W). `integer_biases` writes the biases of integer convolutions and gemms as int32, which
    ONNX Runtime needs to run a last layer with float output on integers. Raises StageError when the exporter or
    `onnx.checker` refuses the network.
    """
    model = _to_onnx_ir(graph_module, input_shape)
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


def check_onnx(path: Path) -> None:
    """Run `onnx.checker` with shape inference; StageError when it refuses the file."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"onnx.checker refuses {path.name}: {str(error).strip().splitlines()[0]}") from error


def _require_no_projection(graph_module: GraphModule) -> None:
    """Raise StageError for an LSTM whose hidden state has another size than its cell: ONNX has none."""
    for node in graph_module.graph.nodes:
        if node.target != torch.ops.aten.lstm.input:
            continue
        hidden, cell = (state.meta["val"].shape[-1] for state in node.args[1])
        if hidden != cell:
            raise StageError(
                f"ONNX has no LSTM with a projection (`proj_size={hidden}` of `hidden_size={cell}`)",
                fix="leave out `proj_size`, for instance with a linear layer behind the LSTM",
            )


def _to_onnx_ir(graph_module: GraphModule, input_shape: tuple[int, ...]) -> ir.Model:
    example = torch.zeros(2, *input_shape)
    _require_no_projection(graph_module)
    try:
        with quiet_torch(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                with_means(graph_module),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)},),
                custom_translation_table=translations(),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps every failure in its own kinds
        cause = error.__cause__ or error
        raise StageError(
            f"torch.onnx.export failed: {str(cause).strip().splitlines()[0]}",
            fix="write that operation in another way; `torch.onnx.export(network.eval(), (x,), dynamo=True)` shows it",
        ) from error
    assert program is not None
    return program.model


aten = torch.ops.aten


def with_means(graph_module: GraphModule) -> GraphModule:
    """The network with each pooling to 1 x 1 as a mean over height and width; itself where there is none.

    For an input whose channels lie last in memory torch decomposes that pooling into a mean and a restrided view, which
    the exporter writes as a loop over sequences.
    """
    if not any(map(_is_global_pooling, graph_module.graph.nodes)):
        return graph_module
    graph = Graph()
    graph.output(graph.graph_copy(graph_module.graph, {}))
    for node in filter(_is_global_pooling, graph.nodes):
        node.target, node.args, node.kwargs = aten.mean.dim, (node.args[0], [-1, -2], True), {}
    copy = GraphModule(graph_module, graph)
    copy.meta.update(graph_module.meta)
    return copy


def _is_global_pooling(node: Node) -> bool:
    if node.target != aten.adaptive_avg_pool2d.default:
        return False
    sizes = node.args[1]
    return isinstance(sizes, list | tuple) and list(sizes) == [1, 1]
