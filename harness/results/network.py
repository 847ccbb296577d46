"""How the operators of a network are connected."""

from __future__ import annotations

from harness.results.base import Record


class Operator(Record):
    """One node of the ONNX file."""

    name: str
    """As audited layers are called."""
    op: str
    """Operator, for instance `Conv`."""
    inputs: tuple[int, ...] = ()
    """Positions of the operators whose outputs it reads."""


class Network(Record):
    """The ONNX file of a model in execution order, without quantizers and constants."""

    model: str
    operators: tuple[Operator, ...]
