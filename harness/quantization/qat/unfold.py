"""Takes batch norms of a prepared network apart again, so that QAT trains them beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from harness.quantization.capture.batch_norm import BATCH_NORMS, BatchNorm, BatchNormLayer, StandaloneBatchNorm
from harness.quantization.capture.fold import is_frozen_batch_norm
from harness.quantization.capture.graph_tensors import attribute, remove_tensors
from harness.quantization.tensor_quantizer import WeightQuantizer

_UNFOLDED = "harness_unfolded"
"""Key in the `meta` of a training graph: `_Place` of every module that `unfold` made, by the module's name."""

Path = str | None


@dataclass(frozen=True)
class _Place:
    """What one module represents in the prepared network: weight and bias, or gamma, beta, mean and variance."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class _Layer:
    """All calls of one layer that a batch norm was folded into."""

    calls: Sequence[Node]
    weight_path: str
    bias_path: str
    quantizer: torch.nn.Module


def unfold(graph_module: GraphModule, *, live: bool) -> None:
    """Replace every layer that a batch norm was folded into by a `BatchNormLayer`, in place.

    With `live`, batch norms that were not folded become modules too, which can follow the batches. A layer whose weight
    another one reads with another bias stays folded.
    """
    places = dict[str, _Place]()
    for layer in list(_folded_layers(graph_module)):
        name = f"batch_norm_layer_{len(places)}"
        graph_module.add_submodule(name, _make_layer(graph_module, layer, live=live))
        for call in layer.calls:
            _replace(graph_module, call, name, (call.args[0], *call.args[3:]), call.args[1:3])
        places[name] = _Place((layer.weight_path, layer.bias_path))
    for paths, norms in _standalone(graph_module).items() if live else ():
        name = f"batch_norm_{len(places)}"
        graph_module.add_submodule(name, StandaloneBatchNorm(BatchNorm.of(graph_module, norms[0])))
        for norm in norms:
            _replace(graph_module, norm, name, (norm.args[0],), norm.args[1:5])
        places[name] = _Place(paths)
    graph_module.meta[_UNFOLDED] = places
    graph_module.recompile()


def batch_norm_modules(trained: GraphModule) -> list[BatchNormLayer | StandaloneBatchNorm]:
    """What `unfold` put into the network."""
    return [module for _, module in _placed(trained)]


def fold_back(trained: GraphModule, prepared: GraphModule) -> None:
    """Write what those modules learned into the network that was unfolded."""
    for place, module in _placed(trained):
        for path, tensor in zip(place.paths, module.folded(), strict=True):
            if path is not None:
                attribute(prepared, path).copy_(tensor)


def _placed(trained: GraphModule) -> Iterator[tuple[_Place, BatchNormLayer | StandaloneBatchNorm]]:
    for name, place in trained.meta.get(_UNFOLDED, {}).items():
        module = trained.get_submodule(name)
        assert isinstance(module, BatchNormLayer | StandaloneBatchNorm)
        yield place, module


def _folded_layers(graph_module: GraphModule) -> Iterator[_Layer]:
    batch_norms: dict[str, BatchNorm] = graph_module.meta.get(BATCH_NORMS, {})
    sources = [node for node in graph_module.graph.nodes if node.op == "get_attr" and node.target in batch_norms]
    for source in sources:
        layer = _layer(graph_module, source)
        if layer is not None:
            yield layer


def _layer(graph_module: GraphModule, source: Node) -> _Layer | None:
    """The layer whose weight `source` is; None unless all its readers are calls of that layer, with one bias."""
    weight, quantizer = source, torch.nn.Identity()
    readers = list(source.users)
    if len(readers) == 1 and readers[0].op == "call_module":
        module = graph_module.get_submodule(str(readers[0].target))
        if not isinstance(module, WeightQuantizer):
            return None
        weight, quantizer = readers[0], module
    calls = [node for node in graph_module.graph.nodes if node in weight.users]
    biases = {call.args[2] if len(call.args) > 2 else None for call in calls if call.op == "call_function"}
    bias = biases.pop() if len(biases) == 1 else None
    one_layer = len({call.target for call in calls}) == 1 and all(call.args[1] is weight for call in calls)
    if not one_layer or not isinstance(bias, Node) or bias.op != "get_attr" or not set(bias.users) <= set(calls):
        return None
    return _Layer(calls, str(source.target), str(bias.target), quantizer)


def _make_layer(graph_module: GraphModule, layer: _Layer, *, live: bool) -> BatchNormLayer:
    operator = layer.calls[0].target
    assert callable(operator)
    made = BatchNormLayer(
        operator,
        attribute(graph_module, layer.weight_path).detach(),
        attribute(graph_module, layer.bias_path).detach(),
        layer.quantizer,
        graph_module.meta[BATCH_NORMS][layer.weight_path],
    )
    made.live = live
    return made


def _standalone(graph_module: GraphModule) -> dict[tuple[Path, ...], list[Node]]:
    """Batch norms that were not folded, by the paths of their tensors; without those that share some tensors."""
    norms: dict[tuple[Path, ...], list[Node]] = {}
    for node in graph_module.graph.nodes:
        if is_frozen_batch_norm(node):
            paths = tuple(str(held.target) if isinstance(held, Node) else None for held in node.args[1:5])
            norms.setdefault(paths, []).append(node)
    return {paths: nodes for paths, nodes in norms.items() if _reads_alone(nodes)}


def _reads_alone(norms: Sequence[Node]) -> bool:
    held = [tensor for tensor in norms[0].args[1:5] if isinstance(tensor, Node)]
    return all(set(tensor.users) <= set(norms) for tensor in held)


def _replace(graph_module: GraphModule, node: Node, name: str, args: tuple[object, ...], tensors: object) -> None:
    """Call module `name` instead; remove the node and those of `tensors` that only it read.

    They must not be trained or saved.
    """
    graph = graph_module.graph
    with graph.inserting_before(node):
        new = graph.call_module(name, args, node.kwargs)  # type: ignore[arg-type]
    node.replace_all_uses_with(new)
    graph.erase_node(node)
    assert isinstance(tensors, tuple | list)
    unread = [tensor for tensor in tensors if isinstance(tensor, Node)]
    while unread:
        tensor = unread.pop()
        if tensor.users:
            continue
        unread += tensor.all_input_nodes
        graph.erase_node(tensor)
        if tensor.op == "get_attr" and not any(other.target == tensor.target for other in graph.nodes):
            remove_tensors(graph_module, [str(tensor.target)])
