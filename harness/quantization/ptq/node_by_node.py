"""Executes a graph node by node for all samples at once, so that a layer can be corrected before its readers run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from harness.quantization.ptq.base import Batches
from harness.quantization.tensor_quantizer import TensorQuantizer, WeightQuantizer

MEMORY_BYTES = 2 * 2**30
"""What the activations that are alive at one time may take; fewer samples are used when all would take more."""

Outputs = list[torch.Tensor]
"""What leaves one layer, one tensor for each batch."""


class NodeByNode(torch.fx.Interpreter):
    """One pass through the graph. Each node runs for every batch before the next node runs for any.

    The value of a node is therefore a list, with one entry for each batch.
    """

    def __init__(self, graph_module: GraphModule, batches: Sequence[torch.Tensor]) -> None:
        super().__init__(graph_module)
        self._batches = batches
        self._batch = 0
        """Index of the batch that a node runs for."""
        self._on_layer: Callable[[Node, Outputs], None] | None = None
        self._layers: set[Node] = set()
        self._constant: set[Node] = set()
        """Nodes whose value is the same for every batch: weights, and what is computed from them alone."""
        self.peak_bytes = 0
        """The most that activations took at one time."""

    @torch.no_grad()
    def walk(self, on_layer: Callable[[Node, Outputs], None] | None = None, layers: Sequence[Node] = ()) -> None:
        """Execute the graph; after each of `layers`, `on_layer` may change the parameters and the outputs in place."""
        self._on_layer, self._layers = on_layer, set(layers)
        self.run(enable_io_processing=False)

    @torch.no_grad()
    def again(self, node: Node) -> Outputs:
        """What `node` computes from the parameters as they are now; for use in `on_layer`."""
        for source in _weight_chain(node):
            self.env[source] = self._values(source)
        return self._values(node)

    def run_node(self, n: Node) -> Any:
        """The node for every batch; the interpreter drops what nothing reads any more."""
        if n.op == "output":
            return None
        self.env[n] = values = self._values(n)
        if self._on_layer is not None and n in self._layers:
            self._on_layer(n, values)
        self.peak_bytes = max(self.peak_bytes, self._live_bytes())
        return values

    def map_nodes_to_values(self, args: Any, n: Node) -> Any:
        """Arguments of one batch."""
        return map_arg(args, lambda source: self.env[source][self._batch])

    def _values(self, node: Node) -> list[Any]:
        if node.op == "placeholder":
            return list(self._batches)
        if all(source in self._constant for source in node.all_input_nodes):
            self._constant.add(node)
            return [self._value(node, 0)] * len(self._batches)
        return [self._value(node, index) for index in range(len(self._batches))]

    def _value(self, node: Node, batch: int) -> Any:
        self._batch = batch
        return super().run_node(node)

    def _live_bytes(self) -> int:
        # By storage, because views share theirs; sizes of the tensors, because a batch may be a view of a data set.
        live = {
            value.untyped_storage().data_ptr(): value.nbytes
            for node, values in self.env.items()
            if node not in self._constant
            for value in values
            if isinstance(value, torch.Tensor)
        }
        return sum(live.values())


def affordable(graph_module: GraphModule, batches: Batches) -> tuple[list[torch.Tensor], str | None]:
    """The samples in batches as far as their activations fit into memory, and a note when that is not all of them."""
    taken: list[torch.Tensor] = []
    limit: int | None = None
    n_seen = n_taken = 0
    for batch in batches():
        if limit is None:
            one = NodeByNode(graph_module, [batch[:1]])
            one.walk()
            limit = max(1, MEMORY_BYTES // max(1, one.peak_bytes))
        n_seen += len(batch)
        if n_taken < limit:
            taken.append(batch[: limit - n_taken])
            n_taken += len(taken[-1])
    note = f"uses the first {n_taken} of {n_seen} calibration samples: activations of more would not fit into memory"
    return taken, note if n_taken < n_seen else None


def _weight_chain(layer: Node) -> list[Node]:
    """The layer's weight and its quantizer, in execution order."""
    chain: list[Node] = []
    node = layer.args[1]
    while isinstance(node, Node):
        chain.insert(0, node)
        node = node.args[0] if node.op == "call_module" else None
    return chain


def watch(
    graph_module: GraphModule,
    batches: Batches,
    layers: Sequence[Node],
    on_layer: Callable[[Node, tuple[Any, ...], torch.Tensor], None],
    *,
    clip: bool = False,
) -> None:
    """One pass, batch after batch; `on_layer` sees each of `layers` with its arguments and its output.

    With `clip`, activations are clipped to their quantizers' ranges, without rounding.
    """

    class Watcher(torch.fx.Interpreter):
        """Runs a graph and shows some of its nodes."""

        def run_node(self, n: Node) -> Any:
            arguments = self.fetch_args_kwargs_from_env(n)[0] if n in wanted else ()
            output = super().run_node(n)
            module = modules.get(str(n.target)) if clip and n.op == "call_module" else None
            if isinstance(module, TensorQuantizer) and not isinstance(module, WeightQuantizer):
                output = output.clamp(*_range(module))
            if n in wanted:
                on_layer(n, arguments, output)
            return output

    wanted, modules = set(layers), dict(graph_module.named_modules())
    watcher = Watcher(graph_module)
    with torch.no_grad():
        for batch in batches():
            watcher.run(batch)


def _range(quantizer: TensorQuantizer) -> tuple[float, float]:
    """Smallest and largest value that the format represents."""
    scale, zero_point = float(quantizer.scale), int(quantizer.zero_point)
    return (quantizer.quant_min - zero_point) * scale, (quantizer.quant_max - zero_point) * scale
