"""The ONNX graph of a quantized network without its numbers, written once for all variants of one placement.

Variants that differ in calibrator or by QAT have one graph and other numbers in it. Torch's exporter takes most of the
time of an export and never looks at the numbers. So it is run once, with placeholders for scales and zero points per
tensor; weights, biases and scales per channel are initializers under their own names. Numbers are filled in before
anything is folded or shared, so that the filled graph is the one that the exporter would have written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch.fx import Graph, GraphModule, Node

from harness.exporting.torch_onnx import written_by_torch
from harness.quantization.capture.graph import quiet_torch
from harness.quantization.capture.graph_tensors import attribute

with quiet_torch():  # defines the operators `quantized_decomposed`
    import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401

_STRUCTURE = "structure"
"""Key of the file's metadata with the checksum of the graph that it was written from."""
_SCALES = ("QuantizeLinear", "DequantizeLinear")
_SMALLEST_PLACEHOLDER = 2.0**-100
"""Placeholders are multiples of it: exact in float32, and no number that a network holds."""


class Numbers(NamedTuple):
    """Scale and zero point of one tensor that is quantized with a single scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class OnnxTemplate:
    """An ONNX graph with placeholders."""

    proto: onnx.ModelProto
    structure: str
    """Checksum of all of the network's graph but its numbers."""

    def save(self, path: Path) -> None:
        """Write it as one file."""
        onnx.save(self.proto, path)

    @classmethod
    def load(cls, path: Path) -> OnnxTemplate:
        """Read what `save` wrote."""
        proto = onnx.load(path)
        return cls(proto, next(entry.value for entry in proto.metadata_props if entry.key == _STRUCTURE))

    def fits(self, graph_module: GraphModule) -> bool:
        """Whether the network's graph is the template's, numbers aside."""
        return _structure(_without_numbers(graph_module)[0]) == self.structure

    def filled(self, graph_module: GraphModule) -> ir.Model:
        """The graph with the numbers of a network that it fits."""
        model = ir.serde.deserialize_model(self.proto)
        del model.metadata_props[_STRUCTURE]
        for name, value in model.graph.initializers.items():
            tensor = _tensor(graph_module, name)
            if tensor is not None:
                value.const_value = ir.tensor(tensor.detach().contiguous().numpy(), name=name)
        numbers = _without_numbers(graph_module)[1]
        for node, index in list(_sites(model)):
            for position, number in ((1, numbers[index].scale), (2, numbers[index].zero_point)):
                _set_constant(node.inputs[position], number)
        return model


def has_numbers(graph_module: GraphModule) -> bool:
    """Whether anything in the network is quantized."""
    return any(node.target in (*_quantize(), *_dequantize()) for node in graph_module.graph.nodes)


def template_of(graph_module: GraphModule, input_shape: tuple[int, ...]) -> OnnxTemplate | None:
    """Write the template of a network in Q/DQ form; `input_shape` is (C, H, W).

    None for a network whose numbers cannot be told apart in what the exporter writes, such as one that reads a tensor
    under two names. Raises StageError when the exporter refuses the network.
    """
    placeholders, numbers = _without_numbers(graph_module)
    if not _names_are_unique(placeholders):
        return None
    # Through its serialized form, so that a template just written and one that was loaded give equal files.
    model = ir.serde.deserialize_model(ir.serde.serialize_model(written_by_torch(placeholders, input_shape)))
    if not _is_fillable(model, placeholders, len(numbers)):
        return None
    structure = _structure(placeholders)
    model.metadata_props[_STRUCTURE] = structure
    return OnnxTemplate(ir.serde.serialize_model(model), structure)


def _quantize() -> tuple[object, ...]:
    namespace = torch.ops.quantized_decomposed
    return (namespace.quantize_per_tensor.default, namespace.quantize_per_channel.default)


def _dequantize() -> tuple[object, ...]:
    namespace = torch.ops.quantized_decomposed
    return (namespace.dequantize_per_tensor.default, namespace.dequantize_per_channel.default)


def _without_numbers(graph_module: GraphModule) -> tuple[GraphModule, list[Numbers]]:
    """The network with placeholders, one for each tensor with a single scale, and what they stand for.

    A quantization and the dequantizations that read it share one.
    """
    graph, numbers = Graph(), list[Numbers]()
    graph.output(graph.graph_copy(graph_module.graph, {}))
    place_of: dict[Node, int] = {}
    for node in graph.nodes:
        if node.target not in (_quantize()[0], _dequantize()[0]):
            continue
        source, scale, zero_point, *rest = node.args
        found = Numbers(float(scale), int(zero_point))
        place = place_of.get(source)
        if place is None or numbers[place] != found:
            place = len(numbers)
            numbers.append(found)
        if node.target == _quantize()[0]:
            place_of[node] = place
        node.args = (source, _placeholder(place), 0, *rest)
    copy = GraphModule(graph_module, graph)
    copy.meta.update(graph_module.meta)
    return copy, numbers


def _placeholder(place: int) -> float:
    return (place + 1) * _SMALLEST_PLACEHOLDER


def _place(value: ir.Value | None) -> int | None:
    """Which placeholder a scale is; None for one that is none."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "Constant" or "value" not in producer.attributes:
        return None
    array = producer.attributes["value"].as_tensor().numpy()
    number = float(array) / _SMALLEST_PLACEHOLDER if array.ndim == 0 and array.dtype == np.float32 else 0.0
    return int(number) - 1 if 1.0 <= number < 2.0**24 and number == int(number) else None


def _sites(model: ir.Model) -> Iterator[tuple[ir.Node, int]]:
    """Every node that quantizes or dequantizes with a placeholder, and which."""
    for node in model.graph.all_nodes():
        place = _place(node.inputs[1]) if node.op_type in _SCALES and len(node.inputs) > 2 else None
        if place is not None:
            yield node, place


def _set_constant(value: ir.Value | None, number: float) -> None:
    producer = None if value is None else value.producer()
    assert producer is not None
    dtype = producer.attributes["value"].as_tensor().numpy().dtype
    producer.attributes["value"] = ir.AttrTensor("value", ir.tensor(np.array(number, dtype)))


def _tensor(graph_module: GraphModule, name: str) -> torch.Tensor | None:
    """The network's tensor of this name, if it has one."""
    try:
        return attribute(graph_module, name)
    except (AttributeError, AssertionError):
        return None


def _read(graph_module: GraphModule) -> list[str]:
    """Names of the tensors that the graph reads."""
    return list(dict.fromkeys(str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"))


def _names_are_unique(graph_module: GraphModule) -> bool:
    """Whether no tensor has two names: the exporter would keep one of them."""
    tensors = [attribute(graph_module, name) for name in _read(graph_module)]
    return len({(tensor.data_ptr(), tensor.shape, tensor.dtype) for tensor in tensors if tensor.numel()}) == sum(
        tensor.numel() > 0 for tensor in tensors
    )


def _is_fillable(model: ir.Model, graph_module: GraphModule, n_placeholders: int) -> bool:
    """Whether every number of the network has its own place in the graph, which nothing else uses."""
    initializers = model.graph.initializers
    for name in _read(graph_module):
        tensor = attribute(graph_module, name)
        value = initializers.get(name)
        if value is None or value.shape is None or list(value.shape) != list(tensor.shape):
            return False
    sites = list(_sites(model))
    used = {(node, position) for node, _ in sites for position in (1, 2)}
    constants = {node.inputs[position] for node, position in used}
    owned = all(
        value is not None
        and (producer := value.producer()) is not None
        and producer.op_type == "Constant"
        and all((use.node, use.idx) in used for use in value.uses())
        for value in constants
    )
    places: dict[ir.Value | None, set[int]] = {}
    for node, place in sites:
        for position in (1, 2):
            places.setdefault(node.inputs[position], set()).add(place)
    return (
        owned
        and all(len(found) == 1 for found in places.values())
        and {place for _, place in sites} == set(range(n_placeholders))
    )


def _structure(graph_module: GraphModule) -> str:
    """Checksum of operators, arguments and module names, and of name, shape and type of every tensor."""
    total = hashlib.sha256()
    for node in graph_module.graph.nodes:
        scopes = [str(key) for key in node.meta.get("nn_module_stack", ())]
        shape = ""
        if node.op == "get_attr":
            tensor = attribute(graph_module, str(node.target))
            shape = f"{tuple(tensor.shape)} {tensor.dtype}"
        total.update(f"{node.op} {node.name} {node.target} {node.args} {node.kwargs} {shape} {scopes}\n".encode())
    return total.hexdigest()
