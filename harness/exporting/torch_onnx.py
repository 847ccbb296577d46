"""From a captured or Q/DQ network to the ONNX graph that torch writes, before anything is optimized."""

from __future__ import annotations

import warnings

import onnx_ir as ir
import torch
from torch.fx import Graph, GraphModule, Node

from harness.errors import StageError
from harness.exporting.translations import translations
from harness.quantization.capture.graph import MAX_BATCH, quiet_torch

aten = torch.ops.aten
OPSET = 21
INPUT_NAME = "input"
OUTPUT_NAME = "logits"


def _require_no_projection(graph_module: GraphModule) -> None:
    """Raise StageError for an LSTM whose hidden state has another size than its cell: ONNX has none."""
    for node in graph_module.graph.nodes:
        if node.target != aten.lstm.input:
            continue
        hidden, cell = (state.meta["val"].shape[-1] for state in node.args[1])
        if hidden != cell:
            raise StageError(
                f"ONNX has no LSTM with a projection (`proj_size={hidden}` of `hidden_size={cell}`)",
                fix="leave out `proj_size`, for instance with a linear layer behind the LSTM",
            )


def written_by_torch(graph_module: GraphModule, input_shape: tuple[int, ...]) -> ir.Model:
    """The graph as the exporter writes it: every tensor of the network is an initializer of its own name.

    `input_shape` is (C, H, W). StageError when the exporter refuses the network. Takes a second and more.
    """
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
                optimize=False,
            )
    except Exception as error:  # the exporter wraps every failure in its own kinds
        cause = error.__cause__ or error
        raise StageError(
            f"torch.onnx.export failed: {str(cause).strip().splitlines()[0]}",
            fix="write that operation in another way; `torch.onnx.export(network.eval(), (x,), dynamo=True)` shows it",
        ) from error
    assert program is not None
    return program.model


def optimized(model: ir.Model) -> ir.Model:
    """The graph with constants folded and equal ones shared, as the exporter does by default."""
    program = torch.onnx.ONNXProgram(model, None)
    program.optimize()
    return program.model


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
