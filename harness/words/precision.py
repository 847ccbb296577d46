"""Whether an engine multiplies in the precision that its method says."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Layer, Method
from harness.words.phrases import listed, method_name, percent

_FLOAT_METHODS: frozenset[Method] = frozenset({"fp32", "fp16", "bf16"})


def other_precisions(method: Method, layers: Sequence[Layer]) -> str | None:
    """What an engine of a method that quantizes nothing multiplies in another precision, in words; None if nothing.

    Layers of which the audit does not know the types are left out.
    """
    if method not in _FLOAT_METHODS:
        return None
    wanted = method_name(method)
    macs = sum(layer.macs for layer in layers)
    shares: dict[str, int] = {}
    for layer in layers:
        if layer.precision not in (None, wanted):
            shares[str(layer.precision)] = shares.get(str(layer.precision), 0) + layer.macs
    if not shares or not macs:
        return None
    parts = [f"{percent(count / macs, 1)} of its multiply-accumulates in {name}" for name, count in shares.items()]
    return f"not only {wanted}: the engine computes {listed(parts, at_most=4)}"
