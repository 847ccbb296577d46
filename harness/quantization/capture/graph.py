"""From an eager network to a graph with batch norm folded, ready for quantizers."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.fx import GraphModule

from harness.errors import ModelError
from harness.quantization.capture.attention import spell_out_heads
from harness.quantization.capture.batch_statistics import spell_out_batch_statistics
from harness.quantization.capture.constants import fold_constants
from harness.quantization.capture.eager import all_float32, inference_copy, run_lazy
from harness.quantization.capture.fold import fold_batch_norm
from harness.quantization.capture.functional import functional_graph
from harness.quantization.capture.graph_tensors import drop_unread_tensors, one_node_per_tensor, own_storage
from harness.quantization.capture.modules import MODULE_CLASSES, module_classes
from harness.quantization.capture.skip_connections import note_skip_connections
from harness.quantization.capture.taken_names import rename_taken
from harness.skip_connections import visible_to_export

MAX_BATCH = 4096
CAPTURE_NOTES = "harness_capture_notes"
"""Key in the `meta` of a captured graph: what people should know about it, one line each."""
_BY_BATCH_SIZE = "Constraints violated (batch)"
"""Message of torch.export where code that ran is valid for some batch sizes only."""
_SIZE_OF_BATCH = re.compile(r"L\['\w+'\](?:\[\d+\])?\.size\(\)\[0\]")
_BATCH_STATISTICS = (
    "{n} batch norms use the statistics of the batch they get (no running statistics): "
    "what the network says of a sample depends on the other samples in its batch"
)


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Hide the notices of torch.export, torchao and the exporter that a user can do nothing about."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def capture(model: torch.nn.Module, input_shape: tuple[int, ...]) -> GraphModule:
    """The inference graph of `model` for inputs of `input_shape` (C, H, W) and any batch size; BN folded.

    Computes what `model.eval()` computes, in float32. The caller's model is not modified. Raises ModelError when
    torch.export cannot follow the network, or an engine could not hold it (see `inference_copy`, `functional_graph`).
    """
    is_float32 = all_float32(model)
    model = inference_copy(model)
    # A batch of 1 would be taken for a constant.
    exported = _export(model, torch.zeros(2, *input_shape), is_float32=is_float32)
    rename_taken(exported)
    graph_module = functional_graph(exported)
    graph_module.meta[MODULE_CLASSES] = module_classes(model)
    one_node_per_tensor(graph_module)
    spell_out_heads(graph_module)
    fold_constants(graph_module)
    n_by_batch = spell_out_batch_statistics(graph_module)
    graph_module.meta[CAPTURE_NOTES] = [_BATCH_STATISTICS.format(n=n_by_batch)] if n_by_batch else []
    fold_batch_norm(graph_module)
    drop_unread_tensors(graph_module)
    own_storage(graph_module)
    for parameter in graph_module.parameters():
        parameter.requires_grad_(True)
    note_skip_connections(graph_module)  # only now: folding replaces the nodes that carry the notes
    return graph_module


def _export(model: torch.nn.Module, example: torch.Tensor, *, is_float32: bool) -> torch.export.ExportedProgram:
    shapes: tuple[object, ...] = ({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)},)
    first = next(iter(inspect.signature(model.forward).parameters.values()), None)
    if first is not None and first.kind is first.VAR_POSITIONAL:  # forward(*inputs)
        shapes = (shapes,)
    try:
        with quiet_torch(), visible_to_export():
            run_lazy(model, example)
            return torch.export.export(model, (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises many kinds
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "make the network exportable with a dynamic batch size (no data-dependent Python control flow)"
        if not is_float32:
            fix = (
                "let `forward` compute in the type of its weights: they were converted to float32, as engines have them"
            )
        if _BY_BATCH_SIZE in str(error):
            first_line, fix = _batch_size_fault(str(error), first_line)
        raise ModelError(f"torch.export cannot capture {type(model).__name__}: {first_line}", fix=fix) from error


def _batch_size_fault(text: str, first_line: str) -> tuple[str, str]:
    """What to say where Python code of the network depends on the batch size, and how to repair it."""
    found = re.search(r"generated guard:? *([^\n]+?)\.?(?:\n|$)", text)
    condition = f" (`{_SIZE_OF_BATCH.sub('batch size', found.group(1).strip())}`)" if found else ""
    return (
        f"what it computes depends on the batch size{condition}, so no one graph is the network",
        "let no Python code of the network branch on, or convert to a number, the size of dimension 0 "
        "(`x.shape[0]`, `len(x)`): write `-1` or `x.size(0)` as it is in shapes",
    )
