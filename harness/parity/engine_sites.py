"""The same tensors in an engine that is an ONNX graph itself: optimized, with other operators and memory layouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.parity.sites import Site

if TYPE_CHECKING:
    from harness.parity.onnx_graph import Array, Arrays
    from harness.targets.base import EngineGraph

_CHANNELS_LAST = (0, 2, 3, 1)
_CHANNELS_FIRST = (0, 3, 1, 2)
_CONVERSIONS = frozenset({"Transpose", "DequantizeLinear", "Cast"})
"""Conversions that an engine names after the node they were made for."""


@dataclass(frozen=True)
class EngineSite:
    """Where an engine holds the tensor of a site."""

    site: Site
    tensor: str
    channels_last: bool = False

    def to_engine(self, value: Array) -> Array:
        """A tensor of the ONNX file in the engine's layout."""
        return np.ascontiguousarray(value.transpose(_CHANNELS_LAST)) if self.channels_last else value

    def from_engine(self, value: Array) -> Array:
        """The reverse."""
        return value.transpose(_CHANNELS_FIRST) if self.channels_last else value


def candidates(engine: EngineGraph, sites: Sequence[Site]) -> dict[str, Site]:
    """Tensors of the engine that may be sites, by name.

    They have the name of the site, or come from the node that quantizes or computes it; and they have its type.
    """
    nodes = engine.model.graph.node
    made = {name for node in nodes for name in node.output}
    found = {site.tensor: site for site in sites if site.tensor in made}
    renamed = [site for site in sites if site.kind == "quantized" and site.tensor not in made]
    quantizing, computing = {site.node: site for site in renamed if site.node}, {site.layer: site for site in renamed}
    for node in nodes:
        by_name = quantizing if node.op_type == "QuantizeLinear" else computing
        site = next((by_name[name] for name in engine.names(node) if name in by_name), None)
        if site is not None and node.op_type not in _CONVERSIONS:
            found.setdefault(node.output[0], site)
    return {tensor: site for tensor, site in found.items() if engine.types.get(tensor) == site.element_type}


def located(found: Mapping[str, Site], engine_values: Arrays, reference: Arrays) -> list[EngineSite]:
    """The candidates that hold their site's values, in the layout that fits; both run freely on one batch.

    Where sizes do not tell the layouts apart, the smaller difference does.
    """
    kept: list[EngineSite] = []
    for tensor, site in found.items():
        value, expected = engine_values[tensor], reference[site.tensor]
        if value.dtype != expected.dtype:
            continue
        fitting = [
            each
            for each in (EngineSite(site, tensor), EngineSite(site, tensor, channels_last=True))
            if value.ndim == expected.ndim
            and (value.ndim == 4 or not each.channels_last)
            and each.from_engine(value).shape == expected.shape
        ]
        if fitting:
            kept.append(min(fitting, key=lambda each: _difference(each.from_engine(value), expected)))
    return _first_of_each_site(kept)


def _first_of_each_site(engine_sites: Iterable[EngineSite]) -> list[EngineSite]:
    unique: dict[str, EngineSite] = {}
    for each in engine_sites:
        unique.setdefault(each.site.tensor, each)
    return list(unique.values())


def _difference(value: Array, expected: Array) -> float:
    return float(np.abs(value.astype(np.float64) - expected.astype(np.float64)).mean()) if value.size else 0.0
