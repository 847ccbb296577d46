"""From an eager network to the graph that quantizers are placed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.quantization.capture.graph import capture

__all__ = ["capture"]


def __getattr__(name: str) -> object:
    """`capture` imports torch, which most modules of this package do without (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    from harness.quantization.capture.graph import capture

    return capture
