"""Models in OpenVINO's own format, as toolkits write them: FakeQuantize nodes instead of Q/DQ.

The FP32 ONNX file beside such a model names its layers and says how much they multiply; OpenVINO keeps the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from harness.exporting.macs import Factor, WeightedLayer

if TYPE_CHECKING:
    from harness.targets.base import Array

SUFFIX = ".xml"
"""The weights lie beside it, in `.bin`."""
WITHOUT_BIASES = "/WithoutBiases"
"""What OpenVINO appends to the name of a layer whose bias becomes an addition of its own."""
_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Slice", "StridedSlice"}
_SCALES = {"Reshape", "Multiply", "Subtract", "Convert"}
_INTEGERS = {"i8", "u8"}


def with_factors_of(path: Path, layers: Iterable[WeightedLayer]) -> tuple[WeightedLayer, ...]:
    """The layers of the FP32 file as the model quantizes them; those that it does not know by name stay float."""
    ops = {op.get_friendly_name().removesuffix(WITHOUT_BIASES): op for op in _by_preference(path)}
    return tuple(_with_factors(layer, ops) for layer in layers)


def _by_preference(path: Path) -> list[Any]:
    """Ops of a name with those that multiply last: a bias takes the name of its layer."""
    ops = openvino.Core().read_model(path).get_ops()
    return sorted(ops, key=lambda op: op.get_friendly_name().endswith(WITHOUT_BIASES))


def _with_factors(layer: WeightedLayer, ops: dict[str, Any]) -> WeightedLayer:
    op = next((ops[name] for name in layer.own_names() if name in ops), None)
    if op is None or op.get_input_size() < len(layer.factors):
        return layer
    factors = tuple(
        Factor(factor.is_constant, _is_quantized(op.input(place))) for place, factor in enumerate(layer.factors)
    )
    return replace(layer, factors=factors)


def _is_quantized(value: Any) -> bool:
    return _origin(value, _MOVES).get_type_name() == "FakeQuantize" or _is_stored_as_integers(value)


def _is_stored_as_integers(value: Any) -> bool:
    origin = _origin(value, _SCALES)
    return origin.get_type_name() == "Constant" and origin.get_element_type().get_type_name() in _INTEGERS


def _origin(value: Any, kinds: set[str]) -> Any:
    """The first op before an input that is none of these kinds."""
    node = value.get_source_output().get_node()
    while node.get_type_name() in kinds:
        node = node.input(0).get_source_output().get_node()
    return node


def as_written(path: Path) -> Callable[[Array], Array]:
    """The model as a function of a batch, in FP32: every FakeQuantize rounds, and no integer kernel is used."""
    properties = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(path), "CPU", properties).create_infer_request()
    return lambda batch: np.array(request.infer({0: np.ascontiguousarray(batch)})[0])
