"""From an eager network to a graph with batch norm folded, ready for quantizers."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.fx import GraphModule

from harness.errors import ModelError
from harness.markers import recorded
from harness.quantization.batch_norm import remember_batch_norms
from harness.quantization.fold_transposed import fold_into_grouped_transposed
from harness.quantization.marked import note_markers
from harness.quantization.modules import MODULE_CLASSES, module_classes

MAX_BATCH = 4096


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


with quiet_torch():  # torchao reports CUDA extensions that do not load on a CPU machine
    from torchao.quantization.pt2e.utils import _fuse_conv_bn_, _fuse_linear_bn_


def capture(model: torch.nn.Module, input_shape: tuple[int, ...]) -> GraphModule:
    """The inference graph of `model` for inputs of `input_shape` (C, H, W) and any batch size; BN folded.

    The caller's model is not modified. Raises ModelError when torch.export cannot follow the network.
    """
    example = torch.zeros(2, *input_shape)  # a batch of 1 would be taken for a constant
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    model = copy.deepcopy(model).cpu().eval()
    try:
        with quiet_torch(), recorded():
            exported = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
            graph_module = exported.module(check_guards=False)
    except Exception as error:  # torch.export raises many kinds
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"torch.export cannot capture {type(model).__name__}: {first_line}",
            fix="make the network exportable with a dynamic batch size (no data-dependent Python control flow)",
        ) from error
    assert isinstance(graph_module, GraphModule)
    graph_module.meta[MODULE_CLASSES] = module_classes(model)
    fold_batch_norm(graph_module)
    note_markers(graph_module)  # only now: folding replaces the nodes that markers stand on
    return graph_module


def fold_batch_norm(graph_module: GraphModule) -> None:
    """Fold every batch norm that follows a convolution or linear layer into its weights, in place.

    Their parameters are remembered in the graph's `meta`, so that QAT can take them apart again.
    """
    fold_into_grouped_transposed(graph_module)
    remember_batch_norms(graph_module)
    with quiet_torch():
        _fuse_conv_bn_(graph_module)
        _fuse_linear_bn_(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    for module in graph_module.modules():
        for name, tensor in list(module.named_buffers(recurse=False)):
            if name.endswith("_bias"):  # folding stores the new biases as buffers; they must train in QAT
                delattr(module, name)
                module.register_parameter(name, torch.nn.Parameter(tensor))
    _drop_unread_parameters(graph_module)
    for parameter in graph_module.parameters():
        parameter.requires_grad_(True)


def _drop_unread_parameters(graph_module: GraphModule) -> None:
    """Remove what folding left behind, so that training and files hold only what the graph uses."""
    read = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    tensors = [name for name, _ in (*graph_module.named_parameters(), *graph_module.named_buffers())]
    for path in tensors:
        if path not in read:
            owner, _, name = path.rpartition(".")
            delattr(graph_module.get_submodule(owner), name)
