"""Batch norm beside a convolution during QAT: the weight is quantized as the engine will hold it, folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule, Node

from harness.quantization.operators import CONVOLUTIONS, LINEAR

BATCH_NORMS = "harness_batch_norms"
"""Key in the `meta` of a captured graph: `BatchNorm` by the path of the weight that it was folded into."""
SMALLEST_FACTOR = 1e-12
"""A channel whose factor is smaller is dead; the weight is not divided by it."""

aten = torch.ops.aten
_FOLDABLE = CONVOLUTIONS | LINEAR
"""Output channels are axis 0 of the weight; a batch norm behind anything else stays folded."""


@dataclass(frozen=True)
class BatchNorm:
    """Parameters of one batch norm; tensors of shape (channels,)."""

    gamma: torch.Tensor
    beta: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    momentum: float
    eps: float


def remember_batch_norms(graph_module: GraphModule) -> None:
    """Note in `graph_module.meta` the batch norms that are about to be folded."""
    found: dict[str, BatchNorm] = {}
    for node in graph_module.graph.nodes:
        if node.target is not aten.batch_norm.default:
            continue
        layer = node.args[0]
        if layer.target in _FOLDABLE and len(layer.users) == 1 and layer.args[1].op == "get_attr":
            found[str(layer.args[1].target)] = _read(graph_module, node)
    graph_module.meta[BATCH_NORMS] = found


def _read(graph_module: GraphModule, node: Node) -> BatchNorm:
    gamma, beta, mean, variance = (
        None if argument is None else attribute(graph_module, str(argument.target)).detach().clone()  # type: ignore[union-attr]
        for argument in node.args[1:5]
    )
    assert mean is not None and variance is not None
    _, momentum, eps = node.args[5:8]
    return BatchNorm(
        gamma=torch.ones_like(mean) if gamma is None else gamma,
        beta=torch.zeros_like(mean) if beta is None else beta,
        mean=mean,
        variance=variance,
        momentum=float(momentum),  # type: ignore[arg-type]
        eps=float(eps),  # type: ignore[arg-type]
    )


def attribute(root: nn.Module, path: str) -> torch.Tensor:
    """The tensor at a dotted path."""
    value: object = root
    for part in path.split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor)
    return value


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
        options: Sequence[Any],
        keywords: Mapping[str, Any],
        weight: torch.Tensor,
        bias: torch.Tensor,
        quantizer: nn.Module,
        batch_norm: BatchNorm,
    ) -> None:
        """`weight` and `bias` are those of the folded layer."""
        super().__init__()
        self.operator, self.options, self.keywords = operator, tuple(options), dict(keywords)
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the layer, batch norm included."""
        if not (self.live and self.training):
            weight, bias = self.folded()
            return self.operator(x, self.quantizer(weight), bias, *self.options, **self.keywords)
        factor = self._per_channel(_divisor(self._factor().detach()), self.weight)
        weight = self.quantizer(self.weight * factor) / factor
        y = self.operator(x, weight, None, *self.options, **self.keywords)
        return F.batch_norm(
            y, self.running_mean, self.running_variance, self.gamma, self.beta, True, self.momentum, self.eps
        )

    def _factor(self) -> torch.Tensor:
        return self.gamma * torch.rsqrt(self.running_variance + self.eps)

    @staticmethod
    def _per_channel(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return values.view(-1, *[1] * (weight.ndim - 1))


def _divisor(factor: torch.Tensor) -> torch.Tensor:
    return torch.where(factor.abs() < SMALLEST_FACTOR, torch.ones_like(factor), factor)
