"""The same tensors in an engine that is an ONNX graph itself: optimized, with other operators and memory layouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.parity.comparison_points import ComparisonPoint

if TYPE_CHECKING:
    from harness.parity.onnx_graph import Array, Arrays
    from harness.targets.base import EngineGraph

_CHANNELS_LAST = (0, 2, 3, 1)
_CHANNELS_FIRST = (0, 3, 1, 2)
_CONVERSIONS = frozenset({"Transpose", "DequantizeLinear", "Cast"})
"""Conversions that an engine names after the node they were made for."""


@dataclass(frozen=True)
class EnginePoint:
    """Where an engine holds the tensor of a comparison point."""

    point: ComparisonPoint
    tensor: str
    channels_last: bool = False

    def to_engine(self, value: Array) -> Array:
        """A tensor of the ONNX file in the engine's layout."""
        return np.ascontiguousarray(value.transpose(_CHANNELS_LAST)) if self.channels_last else value

    def from_engine(self, value: Array) -> Array:
        """The reverse."""
        return value.transpose(_CHANNELS_FIRST) if self.channels_last else value


def candidate_tensors(engine: EngineGraph, points: Sequence[ComparisonPoint]) -> dict[str, ComparisonPoint]:
    """Tensors of the engine that may be comparison points, by name.

    They have the name of the comparison point, or come from the node that quantizes or computes it; and they have its
    type.
    """
    nodes = engine.model.graph.node
    made = {name for node in nodes for name in node.output}
    found = {point.tensor: point for point in points if point.tensor in made}
    renamed = [point for point in points if point.kind == "quantized" and point.tensor not in made]
    quantizing, computing = (
        {point.node: point for point in renamed if point.node},
        {point.layer: point for point in renamed},
    )
    for node in nodes:
        by_name = quantizing if node.op_type == "QuantizeLinear" else computing
        point = next((by_name[name] for name in engine.names(node) if name in by_name), None)
        if point is not None and node.op_type not in _CONVERSIONS:
            found.setdefault(node.output[0], point)
    return {tensor: point for tensor, point in found.items() if engine.types.get(tensor) == point.element_type}


def located(found: Mapping[str, ComparisonPoint], engine_values: Arrays, reference: Arrays) -> list[EnginePoint]:
    """The candidates that hold the values of their comparison point, in the layout that fits.

    Both graphs ran freely on one batch. Where sizes do not decide between the layouts, the smaller difference does.
    """
    kept: list[EnginePoint] = []
    for tensor, point in found.items():
        value, expected = engine_values[tensor], reference[point.tensor]
        if value.dtype != expected.dtype:
            continue
        fitting = [
            each
            for each in (EnginePoint(point, tensor), EnginePoint(point, tensor, channels_last=True))
            if value.ndim == expected.ndim
            and (value.ndim == 4 or not each.channels_last)
            and each.from_engine(value).shape == expected.shape
        ]
        if fitting:
            kept.append(min(fitting, key=lambda each: _difference(each.from_engine(value), expected)))
    return _first_of_each_point(kept)


def _first_of_each_point(engine_points: Iterable[EnginePoint]) -> list[EnginePoint]:
    unique: dict[str, EnginePoint] = {}
    for each in engine_points:
        unique.setdefault(each.point.tensor, each)
    return list(unique.values())


def _difference(value: Array, expected: Array) -> float:
    return float(np.abs(value.astype(np.float64) - expected.astype(np.float64)).mean()) if value.size else 0.0
