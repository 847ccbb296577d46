"""Batch norm beside a convolution during QAT: the weight is quantized as the engine will hold it, folded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule, Node

from harness.quantization.capture.graph_tensors import attribute

BATCH_NORMS = "harness_batch_norms"
"""Key in the `meta` of a captured graph: `BatchNorm` by the path of the weight that it was folded into."""
SMALLEST_FACTOR = 1e-12
"""A channel whose factor is smaller is dead; the weight is not divided by it."""


@dataclass(frozen=True)
class BatchNorm:
    """Parameters of one batch norm; tensors of shape (channels,)."""

    gamma: torch.Tensor
    beta: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    momentum: float
    eps: float

    @classmethod
    def of(cls, graph_module: GraphModule, norm: Node) -> BatchNorm:
        """What a node of `aten.batch_norm` with running statistics computes."""
        gamma, beta, mean, variance = (
            attribute(graph_module, str(argument.target)).detach().clone() if isinstance(argument, Node) else None
            for argument in norm.args[1:5]
        )
        assert mean is not None and variance is not None
        momentum, eps = norm.args[6:8]
        assert isinstance(momentum, int | float) and isinstance(eps, int | float)
        ones, zeros = torch.ones_like(mean), torch.zeros_like(mean)
        gamma, beta = (ones if gamma is None else gamma), (zeros if beta is None else beta)
        return cls(gamma, beta, mean, variance, float(momentum), float(eps))

    def behind_bias(self, bias: torch.Tensor) -> BatchNorm:
        """The same function of the layer's output without its `bias` (channels,): the mean is smaller by that.

        In training the layer is computed without its bias, which a batch's own mean would take away again.
        """
        return replace(self, mean=(self.mean.double() - bias.double()).to(self.mean.dtype))

    def scaled(self, factor: torch.Tensor) -> BatchNorm:
        """With outputs times `factor` (channels,)."""
        return replace(self, gamma=self.gamma * factor, beta=self.beta * factor)

    def factor_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch norm as factor * x + shift per channel, in float64."""
        factor = self.gamma.double() * torch.rsqrt(self.variance.double() + self.eps)
        return factor, self.beta.double() - self.mean.double() * factor


class BatchNormLayer(nn.Module):
    """A convolution or linear layer with its batch norm, which computes in evaluation what the folded layer computes.

    With `live`, a training batch is normalised by its own statistics, and the running ones follow; the weight is
    quantized folded with the running ones (Jacob et al., arXiv:1712.05877; Krishnamoorthi, arXiv:1806.08342) and
    divided again. torchao divides the activations instead, which is a further pass over them in either direction.
    Without `live`, running statistics are used.
    """

    running_mean: torch.Tensor
    running_variance: torch.Tensor
    switches_with_network = True
    """`set_training` reaches it inside a captured network."""

    def __init__(
        self,
        operator: Callable[..., torch.Tensor],
        weight: torch.Tensor,
        bias: torch.Tensor,
        quantizer: nn.Module,
        batch_norm: BatchNorm,
    ) -> None:
        """`weight` and `bias` are those of the folded layer."""
        super().__init__()
        self.operator = operator
        self.momentum, self.eps = batch_norm.momentum, batch_norm.eps
        self.quantizer = quantizer
        self.live = False
        self.gamma = nn.Parameter(batch_norm.gamma.clone())
        self.register_buffer("running_mean", batch_norm.mean.clone())
        self.register_buffer("running_variance", batch_norm.variance.clone())
        with torch.no_grad():
            factor = self._factor()
            self.weight = nn.Parameter(weight / self._per_channel(_divisor(factor), weight))
            # Not the batch norm's own beta: bias correction may have moved the folded bias.
            self.beta = nn.Parameter(bias + self.running_mean * factor)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the folded layer."""
        factor = self._factor()
        return self.weight * self._per_channel(factor, self.weight), self.beta - self.running_mean * factor

    def forward(self, x: torch.Tensor, *options: Any, **keywords: Any) -> torch.Tensor:
        """Outputs of the layer, batch norm included; `options` and `keywords` are the operator's (stride, padding)."""
        if not (self.live and self.training):
            weight, bias = self.folded()
            return self.operator(x, self.quantizer(weight), bias, *options, **keywords)
        factor = self._per_channel(_divisor(self._factor().detach()), self.weight)
        weight = self.quantizer(self.weight * factor) / factor
        y = self.operator(x, weight, None, *options, **keywords)
        return F.batch_norm(
            y, self.running_mean, self.running_variance, self.gamma, self.beta, True, self.momentum, self.eps
        )

    def _factor(self) -> torch.Tensor:
        return self.gamma * torch.rsqrt(self.running_variance + self.eps)

    @staticmethod
    def _per_channel(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return values.view(-1, *[1] * (weight.ndim - 1))


class StandaloneBatchNorm(nn.Module):
    """A batch norm that no layer could take, in float; `live` as in `BatchNormLayer`."""

    running_mean: torch.Tensor
    running_variance: torch.Tensor
    switches_with_network = True

    def __init__(self, batch_norm: BatchNorm) -> None:
        super().__init__()
        self.momentum, self.eps = batch_norm.momentum, batch_norm.eps
        self.live = True
        self.gamma = nn.Parameter(batch_norm.gamma.clone())
        self.beta = nn.Parameter(batch_norm.beta.clone())
        self.register_buffer("running_mean", batch_norm.mean.clone())
        self.register_buffer("running_variance", batch_norm.variance.clone())

    def folded(self) -> tuple[torch.Tensor, ...]:
        """Gamma, beta, mean and variance."""
        return self.gamma, self.beta, self.running_mean, self.running_variance

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (N, C, …) normalised per channel."""
        by_batch = self.live and self.training
        return F.batch_norm(
            x, self.running_mean, self.running_variance, self.gamma, self.beta, by_batch, self.momentum, self.eps
        )


def _divisor(factor: torch.Tensor) -> torch.Tensor:
    return torch.where(factor.abs() < SMALLEST_FACTOR, torch.ones_like(factor), factor)
