"""Who makes and who reads the tensors of an ONNX file, and which of them are constant or quantized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

MOVES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand", "Slice", "Split", "Gather"}
MOVES |= {"GatherND", "DepthToSpace", "SpaceToDepth"}
"""Operators whose outputs hold values of their first input."""
_SMALL_INTEGERS = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Bodies of `Loop`, `Scan` and `If`."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and every body in it."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_graphs(body)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node, those of bodies before the node that has them."""
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_nodes(body)
        yield node


@dataclass(frozen=True)
class OnnxIndex:
    """Look-up tables of one model, bodies of loops and branches included."""

    nodes: tuple[NodeProto, ...] = field(repr=False)
    """In the order of `all_nodes`."""
    producers: dict[str, NodeProto] = field(repr=False)
    users: dict[str, list[NodeProto]] = field(repr=False)
    constants: set[str] = field(repr=False)
    """Tensors that are known before the network runs."""
    integers: set[str] = field(repr=False)
    """Initializers of 8 bits or fewer."""
    outputs: set[str] = field(repr=False)
    """Names of the network's outputs."""

    @classmethod
    def of(cls, model: ModelProto) -> OnnxIndex:
        """Go through the model once."""
        nodes = tuple(all_nodes(model.graph))
        users: dict[str, list[NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                users.setdefault(name, []).append(node)
        weights = [tensor for graph in all_graphs(model.graph) for tensor in graph.initializer]
        return cls(
            nodes=nodes,
            producers={name: node for node in nodes for name in node.output if name},
            users=users,
            constants=_constants(nodes, {tensor.name for tensor in weights}),
            integers={tensor.name for tensor in weights if tensor.data_type in _SMALL_INTEGERS},
            outputs={value.name for value in model.graph.output},
        )

    def origin(self, name: str) -> str:
        """The tensor whose values these are, before any change of shape."""
        producer = self.producers.get(name)
        while producer is not None and producer.op_type in MOVES:
            name = producer.input[0]
            producer = self.producers.get(name)
        return name

    def is_dequantized(self, name: str) -> bool:
        """Whether the tensor comes out of a DequantizeLinear or holds integers, whatever was reshaped since."""
        origin = self.origin(name)
        producer = self.producers.get(origin)
        return origin in self.integers or (producer is not None and producer.op_type == "DequantizeLinear")


def _constants(nodes: Iterable[NodeProto], initializers: set[str]) -> set[str]:
    """One pass in execution order: what is computed from constants only is constant."""
    known = set(initializers)
    for node in nodes:
        inputs = [name for name in node.input if name]
        is_computed = bool(inputs) and all(name in known for name in inputs) and not any(subgraphs(node))
        if node.op_type == "Constant" or is_computed:
            known.update(filter(None, node.output))
    return known
