"""Toolkit `modelopt-folded`: as `modelopt`, with batch norm folded into the convolutions first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.errors import StageError
from harness.toolkits.base import NetworkSource
from harness.toolkits.modelopt import ModelOpt

if TYPE_CHECKING:
    import torch


class ModelOptFolded(ModelOpt):
    """With batch norm between a convolution and the next quantizer no convolution of ours ran on integers."""

    name: ClassVar[str] = "modelopt-folded"

    def prepared_network(self, source: NetworkSource) -> torch.nn.Module:
        """The eager network after `torch.fx`'s own folding."""
        from torch.fx.experimental.optimization import fuse

        try:
            folded: torch.nn.Module = fuse(source.make_network())
        except Exception as error:  # torch.fx raises many kinds
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StageError(
                f"torch.fx cannot trace the network to fold batch norm: {first_line}", fix="use `modelopt`"
            ) from error
        return folded


TOOLKIT = ModelOptFolded()
