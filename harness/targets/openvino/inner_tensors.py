"""Inner tensors of an engine, one at a time."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import opset13

from harness.targets.base import EngineTensors
from harness.targets.openvino.engine_file import unpacked_ir
from harness.targets.openvino.predict import properties

if TYPE_CHECKING:
    from harness.targets.base import Array
    from harness.targets.openvino import OpenVinoOptions


class OpenVinoTensors(EngineTensors):
    """Reads a tensor by compiling the engine once more with that tensor as a further output.

    Each tensor has a network of its own. Several outputs in one would change what is measured: a convolution that adds
    to a tensor in its place cannot do so while that tensor is handed out, and then rounds once more.
    """

    def __init__(self, path: Path, options: OpenVinoOptions) -> None:
        self._path, self._options = path, options
        self._compiled: dict[str, openvino.CompiledModel] = {}
        network = self._network()
        self.names = frozenset(_ports(network))
        self.batch_size = network.input(0).shape[0]

    def _network(self) -> openvino.Model:
        with unpacked_ir(self._path) as (xml, _):
            return openvino.Core().read_model(xml)

    def values(self, batch: Array, names: Collection[str]) -> dict[str, Array]:
        """What the engine computes for these tensors."""
        return {name: self._value(np.ascontiguousarray(batch), name) for name in names}

    def _value(self, batch: Array, name: str) -> Array:
        if name not in self._compiled:
            self._compiled[name] = self._with_output(name)
        compiled = self._compiled[name]
        return np.array(compiled({0: batch})[compiled.outputs[-1]])

    def _with_output(self, name: str) -> openvino.CompiledModel:
        network = self._network()
        if name not in network.output(0).get_names():
            network.add_results([opset13.result(_ports(network)[name])])
            network.validate_nodes_and_infer_types()
        return openvino.Core().compile_model(network, self._options.device, properties(self._options.model_dump()))


def _ports(network: openvino.Model) -> dict[str, Any]:
    """Outputs of nodes by the names of their tensors in the ONNX file, but those that do not depend on the input."""
    dynamic: set[str] = set()
    found: dict[str, Any] = {}
    for node in network.get_ordered_ops():
        sources = [value.get_node().get_friendly_name() for value in node.input_values()]
        if node.get_type_name() == "Parameter" or dynamic.intersection(sources):
            dynamic.add(node.get_friendly_name())
            found |= {name: port for port in node.outputs() for name in port.get_names()}
    return found
