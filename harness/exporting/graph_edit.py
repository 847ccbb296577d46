"""Small edits of an exported graph that the rewrites are made of."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def set_initializer(model: ir.Model, node: ir.Node, index: int, array: npt.NDArray[np.generic], name: str) -> None:
    """Make `array`, under this name, input `index` of `node`; an initializer that nothing else reads goes away."""
    old = node.inputs[index]
    node.replace_input_with(index, None)
    drop_unread_initializer(model, old)
    node.replace_input_with(index, initializer(model, array, name))


def drop_unread_initializer(model: ir.Model, value: ir.Value | None) -> None:
    """Remove an initializer that nothing reads any more."""
    if value is not None and value.name is not None and not value.uses() and value.name in model.graph.initializers:
        del model.graph.initializers[value.name]


def replace(
    model: ir.Model, node: ir.Node, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, int]
) -> None:
    """Put a new node in the place of `node`, with the same output."""
    new_output = insert(model, node, op_type, inputs, attributes).outputs[0]
    old_output = node.outputs[0]
    new_output.name, new_output.shape, new_output.type = old_output.name, old_output.shape, old_output.type
    old_output.replace_all_uses_with(new_output, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def insert(
    model: ir.Model, node: ir.Node, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, int]
) -> ir.Node:
    """Put a new node of the same module in front of `node`."""
    new = ir.node(op_type, inputs, attributes)
    new.metadata_props.update(node.metadata_props)
    model.graph.insert_before(node, new)
    return new


def dequantize_of(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that makes this value, if one does."""
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """The array of a constant, else None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def initializer(model: ir.Model, array: npt.NDArray[np.generic], name: str) -> ir.Value:
    """A new initializer of the graph, under this name or, where it is taken, one that starts with it."""
    name = free_name(model, name)
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.dtype, value.shape = value.const_value.dtype, ir.Shape(array.shape)  # type: ignore[union-attr]
    model.graph.register_initializer(value)
    return value


def free_name(model: ir.Model, name: str) -> str:
    """The name, with a number where a value of the graph has it: modules may be called anything."""
    taken = set(model.graph.initializers) | {value.name for value in model.graph.inputs}
    taken.update(value.name for node in model.graph for value in node.outputs)
    numbered = (f"{name}.{number}" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
