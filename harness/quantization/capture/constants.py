"""Weights that the network computes from its parameters alone become parameters, which can be quantized."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph_tensors import add_tensor, is_parameter
from harness.quantization.capture.operators import CONVOLUTIONS, LINEAR, MATRIX_PRODUCTS, TRANSPOSED_CONVOLUTIONS

aten = torch.ops.aten
_PRODUCTS = CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | LINEAR | MATRIX_PRODUCTS
_RUNNING_STATISTICS = (3, 4)
"""Places of mean and variance among the arguments of `batch_norm`."""


def fold_constants(graph_module: GraphModule) -> None:
    """Compute once what layers and batch norms read and no input changes, in place.

    Standardised, scaled, masked, sliced and transposed weights are such; the results train in QAT in their place.
    What other calls read stays as the network computes it.
    """
    constant = _constants(graph_module)
    for node in list(graph_module.graph.nodes):
        if node not in constant or node.op == "get_attr":
            continue
        readers = [user for user in node.users if user not in constant and _reads_as_weight(user, node)]
        if readers and isinstance(node.meta.get("val"), torch.Tensor):
            _replace(graph_module, node, readers, constant[node])
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


@torch.no_grad()
def _constants(graph_module: GraphModule) -> dict[Node, Any]:
    """Values of the tensors that the network holds, and of what is computed from nothing else."""
    values: dict[Node, Any] = {}

    class Constants(torch.fx.Interpreter):
        """Runs what no input changes."""

        def run_node(self, n: Node) -> Any:
            is_computed = n.op == "call_function" and n.all_input_nodes and not _is_random(n)
            if n.op == "get_attr" or (is_computed and values.keys() >= set(n.all_input_nodes)):
                values[n] = super().run_node(n)
            return values.get(n)

    Constants(graph_module).run(enable_io_processing=False)
    return values


def _is_random(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _reads_as_weight(reader: Node, tensor: Node) -> bool:
    if reader.target is aten.batch_norm.default:
        return reader.args[0] is not tensor
    return reader.target in _PRODUCTS and reader.args[0] is not tensor


def _replace(graph_module: GraphModule, node: Node, readers: list[Node], value: torch.Tensor) -> None:
    sources = _sources(node)
    parameters = [path for path in sources if is_parameter(graph_module, path)]
    path = f"{(parameters or sources)[0]}_{node.name}"
    is_statistic = all(
        reader.target is aten.batch_norm.default and node in (reader.args[i] for i in _RUNNING_STATISTICS)
        for reader in readers
    )
    trains = bool(parameters) and not is_statistic
    new = add_tensor(graph_module, path, value, node, trains=trains)
    new.meta |= {key: item for key, item in node.meta.items() if key not in new.meta}
    for reader in readers:
        reader.replace_input_with(node, new)


def _sources(node: Node) -> list[str]:
    """Paths of the tensors that a constant is computed from."""
    found: dict[str, None] = {}
    pending = [node]
    while pending:
        current = pending.pop(0)
        if current.op == "get_attr":
            found[str(current.target)] = None
        pending += current.all_input_nodes
    return list(found)
