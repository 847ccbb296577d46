"""The operators of an ONNX file and who reads from whom, quantizers left out."""

from __future__ import annotations

from pathlib import Path

import onnx

from harness.exporting.onnx_index import OnnxIndex
from harness.results import Operator

_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast"})


def operators(path: Path) -> tuple[Operator, ...]:
    """Operators in execution order; those that compute constants, and conversions between number formats, are skipped.

    Weights are not read.
    """
    index = OnnxIndex.of(onnx.load(path, load_external_data=False))
    sources: dict[str, tuple[int, ...]] = {}
    found: list[Operator] = []
    for node in index.nodes:
        if index.constants.issuperset(filter(None, node.output)):
            continue
        inputs = tuple(dict.fromkeys(place for name in node.input for place in sources.get(name, ())))
        if node.op_type not in _QUANTIZERS:
            name = node.name or next(filter(None, node.output), node.op_type)
            found.append(Operator(name=name, op=node.op_type, inputs=inputs))
            inputs = (len(found) - 1,)
        sources |= dict.fromkeys(filter(None, node.output), inputs)
    return tuple(found)
