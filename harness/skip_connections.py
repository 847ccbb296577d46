"""Skip-connection modules for model files: identities whose tensor is quantized.

Most networks need none: residual adds and concatenations are found in the graph. Such a module adds a quantizer
at an edge that a target's rules do not quantize, for instance the inputs of a division. Needs torch only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_recording = False


@torch.library.custom_op("harness::skip_connection", mutates_args=())
def _skip_connection(x: torch.Tensor) -> torch.Tensor:
    return x.clone()  # a custom op must not return its input


@_skip_connection.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@contextmanager
def visible_to_export() -> Iterator[None]:
    """Inside the block, these modules are operations that torch.export sees; elsewhere they leave no trace."""
    global _recording  # noqa: PLW0603  # torch.export calls the modules itself, with no way to pass an argument
    previous, _recording = _recording, True
    try:
        yield
    finally:
        _recording = previous


class SkipConnection(nn.Module):
    """The tensor that passes through here is quantized before its users read it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` itself, of any shape."""
        return _skip_connection(x) if _recording else x


class Residual(SkipConnection):
    """The identity branch of a residual block."""


class CrossModelSkipConnection(SkipConnection):
    """A connection between two parts of a network, for instance from backbone to neck."""


class BackboneInternalSkipConnection(SkipConnection):
    """A connection inside the backbone."""


class HeadInternalSkipConnection(SkipConnection):
    """A connection inside a head."""
