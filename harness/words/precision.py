"""Whether an engine multiplies in the precision that its method says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.results import Layer, Method
from harness.words.phrases import listed, method_name, percent

_SPELLINGS = {
    "FP32": {"float", "float32", "fp32", "f32"},
    "FP16": {"float16", "half", "fp16", "f16"},
    "BF16": {"bfloat16", "bf16"},
    "TF32": {"tf32"},
    "INT8": {"int8", "uint8"},
}
"""Precisions, as libraries write them."""
_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
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
        for name in _precisions(layer) - {wanted}:
            shares[name] = shares.get(name, 0) + layer.macs
    if not shares or not macs:
        return None
    parts = [f"{percent(count / macs, 1)} of its multiply-accumulates in {name}" for name, count in shares.items()]
    return f"not only {wanted}: the engine computes {listed(parts, at_most=4)}"


def _precisions(layer: Layer) -> set[str]:
    """Types of the numbers that a layer multiplies; empty for other layers."""
    if layer.weight_type is None:
        return set()
    types: Iterable[str] = (layer.weight_type,) if not layer.int8 else (layer.input_type, layer.weight_type)
    return {_NAMES[each.lower()] for each in types if each.lower() in _NAMES}
