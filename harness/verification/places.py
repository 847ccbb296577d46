"""Where two executions of one network begin to differ: inner values of one that are nowhere in the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from harness.parity.noise import error_of
from harness.quantization.capture.modules import module_path

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

FOUND_DB = 70.0
"""Inner values that agree to this are one tensor."""
_NORMS = torch.nn.modules.batchnorm._BatchNorm


class Pool:
    """Inner values of one execution, to find others in; layouts that are reshapes of each other are one."""

    def __init__(self, values: Iterable[Array]) -> None:
        self._by_size: dict[int, list[Array]] = defaultdict(list)
        for value in values:
            self._by_size[value.size].append(value.reshape(-1))

    def holds(self, value: Array) -> bool:
        """Whether one of the values is this one up to rounding."""
        return any(_alike(value.reshape(-1), each) for each in self._by_size.get(value.size, []))


def _alike(value: Array, other: Array) -> bool:
    expected = value.astype(np.float64)
    noise = float(np.square(error_of(expected, other.astype(np.float64))).sum())
    signal = float(np.square(np.where(np.isfinite(expected), expected, 0.0)).sum())
    return noise <= signal * 10 ** (-FOUND_DB / 10)


def node_values(graph: GraphModule, batch: torch.Tensor) -> dict[Node, Array]:
    """Float tensors of at least two elements that the nodes of a graph compute, in order."""
    found: dict[Node, Array] = {}

    class Reader(torch.fx.Interpreter):
        """Keeps what every node computes."""

        def run_node(self, n: Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 1:
                found[n] = value.detach().float().numpy().copy()
            return value

    with torch.no_grad():
        Reader(graph).run(batch)
    return found


def first_wrong_node(graph: GraphModule, others: Sequence[Array], batch: torch.Tensor) -> str | None:
    """The first node of `graph` whose value, and all that is computed from it, is nowhere among `others`."""
    pool = Pool(others)
    values = {node: value for node, value in node_values(graph, batch).items() if _depends_on_input(node)}
    right: set[Node] = set()
    for node in reversed(list(graph.graph.nodes)):
        if any(user in right for user in node.users) or (node in values and pool.holds(values[node])):
            right.add(node)
    wrong = next((node for node in values if node not in right and node.op.startswith("call")), None)
    return None if wrong is None else _described(wrong)


def _depends_on_input(node: Node) -> bool:
    seen, waiting = set(), [node]
    while waiting:
        each = waiting.pop()
        if each.op == "placeholder":
            return True
        waiting += [source for source in each.all_input_nodes if source not in seen]
        seen.update(each.all_input_nodes)
    return False


def _described(node: Node) -> str:
    path, operator = module_path(node), str(node.target).removesuffix(".default")
    return f"`{path}` ({operator})" if path else f"`{operator}`"


def first_wrong_module(network: torch.nn.Module, graph: GraphModule, batch: torch.Tensor) -> str | None:
    """The first innermost module of an eager network whose output is nowhere in the captured graph.

    A layer before a batch norm is not looked for by itself: folding makes one value of both.
    """
    pool = Pool(node_values(graph, batch).values())
    calls = _module_calls(network, batch)
    folded = {
        index
        for index, (_, _, _, output) in enumerate(calls)
        if any(isinstance(module, _NORMS) and taken is output for _, module, taken, _ in calls)
    }
    for index, (path, module, taken, output) in enumerate(calls):
        if index in folded or pool.holds(_array(output)):
            continue
        own_layer = next((i for i in folded if calls[i][3] is taken), None) if isinstance(module, _NORMS) else None
        reached = calls[own_layer][2] if own_layer is not None else taken
        if not pool.holds(_array(reached)):
            return f"`{path}` ({type(module).__name__}), or before it"
        layer = f"`{calls[own_layer][0]}` and " if own_layer is not None else ""
        return f"{layer}`{path}` ({type(module).__name__})"
    return "what the network does outside of its modules"


_Call = tuple[str, torch.nn.Module, torch.Tensor, torch.Tensor]
"""Path, module, first input and output."""


def _module_calls(network: torch.nn.Module, batch: torch.Tensor) -> list[_Call]:
    calls: list[_Call] = []
    handles = []
    for path, module in network.named_modules():
        if path and not any(True for _ in module.children()):
            handles.append(module.register_forward_hook(_recorder(path, calls)))
    try:
        with torch.no_grad():
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _recorder(path: str, calls: list[_Call]) -> Any:
    def record(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        given = inputs[0] if inputs else None
        if isinstance(first, torch.Tensor) and first.is_floating_point() and isinstance(given, torch.Tensor):
            calls.append((path, module, given, first))

    return record


def _array(value: torch.Tensor) -> Array:
    array: Array = value.detach().float().numpy()
    return array
