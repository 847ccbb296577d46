"""Which layer each step of a parity chain first goes wrong at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.results import LayerParity
from harness.results.parity import LayerStep


def first_fault(layers: Iterable[LayerParity]) -> Mapping[LayerStep, LayerParity]:
    """The first faulty layer of each step, in execution order."""
    found: dict[LayerStep, LayerParity] = {}
    for layer in layers:
        if layer.is_fault:
            found.setdefault(layer.step, layer)
    return found
