"""Networks whose graph is easily captured as another network: one class for each way."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

FORM_SHAPE = (2, 12, 12)


class Form(nn.Module):
    """A stem, something in the middle, and a head."""

    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, 2, 1)
        self.build()
        self.head = nn.Linear(self.width, 5)

    def build(self) -> None:
        """Make the layers of the middle."""

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        """From (N, 8, 6, 6) to (N, width, …)."""
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.middle(F.relu(self.stem(x)))
        return self.head(y.flatten(2).mean(2) if y.ndim > 2 else y)


def conv(inputs: int = 8, outputs: int = 8, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)  # type: ignore[arg-type]


class SharedConvTwoNorms(Form):
    def build(self) -> None:
        self.conv, self.norm1, self.norm2 = conv(bias=False), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def middle(self, x):
        coarse = F.relu(self.norm2(self.conv(F.max_pool2d(x, 2))))
        return F.relu(self.norm1(self.conv(x))).mean((2, 3)) + coarse.mean((2, 3))


class SharedConvTwoNormsBias(SharedConvTwoNorms):
    def build(self) -> None:
        self.conv, self.norm1, self.norm2 = conv(), nn.BatchNorm2d(8), nn.BatchNorm2d(8)


class SharedConvOneNormed(Form):
    """One call is normalised, the other is not."""

    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.conv(F.relu(self.norm(self.conv(x)))))


class Recurrent(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(bias=False), nn.BatchNorm2d(8)

    def middle(self, x):
        for _ in range(3):
            x = F.relu(self.norm(self.conv(x)))
        return x


class RecurrentBias(Recurrent):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)


class SharedDilations(Form):
    """One weight with several dilations, one batch norm."""

    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        calls = [F.conv2d(x, self.conv.weight, self.conv.bias, 1, d, d) for d in (1, 2)]
        return sum(F.relu(self.norm(y)) for y in calls)


class Flipped(Form):
    """The whole network on an image and on its mirror image."""

    def build(self) -> None:
        self.conv, self.norm = conv(bias=False), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x):
        return (super().forward(x) + super().forward(x.flip(-1))) / 2


class TwoReaders(Form):
    def build(self) -> None:
        self.conv, self.norm, self.conv2 = conv(bias=False), nn.BatchNorm2d(8), conv()

    def middle(self, x):
        y = self.conv(x)
        return y + self.conv2(F.relu(self.norm(y)))


class TwoReadersBias(TwoReaders):
    def build(self) -> None:
        self.conv, self.norm, self.conv2 = conv(), nn.BatchNorm2d(8), conv()


class TwoNormsOfOneOutput(Form):
    def build(self) -> None:
        self.conv, self.norm1, self.norm2 = conv(), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def middle(self, x):
        y = self.conv(x)
        return F.relu(self.norm1(y)) + torch.sigmoid(self.norm2(y))


class PreActivation(Form):
    def build(self) -> None:
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.convs = nn.ModuleList(conv() for _ in range(2))

    def middle(self, x):
        for norm, layer in zip(self.norms, self.convs, strict=True):
            x = x + layer(F.relu(norm(x)))
        return x


class DenselyConnected(Form):
    """Batch norms behind concatenations."""

    width = 16

    def build(self) -> None:
        self.norm, self.conv, self.last = nn.BatchNorm2d(8), conv(), nn.BatchNorm2d(16)

    def middle(self, x):
        return F.relu(self.last(torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)))


class SharedNorm(Form):
    def build(self) -> None:
        self.conv1, self.conv2, self.norm = conv(bias=False), conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv2(F.relu(self.norm(self.conv1(x))))))


class TiedConvolutions(Form):
    """Two modules, one parameter; one is normalised."""

    def build(self) -> None:
        self.conv1, self.conv2, self.norm = conv(), conv(bias=False), nn.BatchNorm2d(8)
        self.conv2.weight = self.conv1.weight

    def middle(self, x):
        return F.relu(self.norm(self.conv1(x))) + F.relu(self.conv2(x))


class TiedNormed(TiedConvolutions):
    def build(self) -> None:
        super().build()
        self.norm2 = nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv1(x))) + F.relu(self.norm2(self.conv2(x)))


class TiedBias(Form):
    """One bias of two layers, one of them normalised."""

    def build(self) -> None:
        self.conv1, self.conv2, self.norm = conv(), conv(), nn.BatchNorm2d(8)
        self.conv2.bias = self.conv1.bias

    def middle(self, x):
        return F.relu(self.conv2(F.relu(self.norm(self.conv1(x)))))


class TiedTransposed(Form):
    """An autoencoder whose decoder is the encoder's weight, transposed."""

    def build(self) -> None:
        self.encoder, self.norm = nn.Linear(8, 6), nn.BatchNorm1d(6)

    def middle(self, x):
        code = F.relu(self.norm(self.encoder(x.mean((2, 3)))))
        return F.linear(code, self.encoder.weight.t())


class TiedMatmul(TiedTransposed):
    def middle(self, x):
        return torch.matmul(F.relu(self.norm(self.encoder(x.mean((2, 3))))), self.encoder.weight)


class WeightRead(Form):
    """The weight is also read by a penalty and by a similarity."""

    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x))) + 0.1 * self.conv.weight.norm()


class BiasRead(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x))) + self.conv.bias.view(1, -1, 1, 1)


class NoAffine(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8, affine=False)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x)))


class NoStatistics(NoAffine):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8, track_running_stats=False)


class NoStatisticsNoAffine(NoAffine):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8, affine=False, track_running_stats=False)


class AlwaysTraining(NoAffine):
    """A functional batch norm that is in training whatever the mode."""

    def middle(self, x):
        y = self.conv(x)
        return F.relu(F.batch_norm(y, self.norm.running_mean, self.norm.running_var, training=True))


class CumulativeAverage(NoAffine):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8, momentum=None)


class PlainBuffers(Form):
    def build(self) -> None:
        self.conv = conv(bias=False)
        self.register_buffer("mean", torch.rand(8))
        self.register_buffer("weight_bias", torch.rand(8) + 0.5)  # a variance whose name is the fold's for a bias

    def middle(self, x):
        return F.relu(F.batch_norm(self.conv(x), self.mean, self.weight_bias))


class FrozenBatchNorm(Form):
    """As detection networks have it: constants in buffers, arithmetic in forward."""

    def build(self) -> None:
        self.conv = conv(bias=False)
        for name in ("gamma", "beta", "mean", "variance"):
            self.register_buffer(name, torch.rand(8) + 0.5)

    def middle(self, x):
        scale = self.gamma * (self.variance + 1e-5).rsqrt()
        shift = self.beta - self.mean * scale
        return F.relu(self.conv(x) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1))


class Conv1d(Form):
    def build(self) -> None:
        self.conv, self.norm = nn.Conv1d(8, 8, 3, padding="same"), nn.BatchNorm1d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x.flatten(2))))


class Conv3d(Form):
    def build(self) -> None:
        self.conv, self.norm = nn.Conv3d(8, 8, 3, padding=1, bias=False), nn.BatchNorm3d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x.unflatten(2, (2, 3)))))


class Transposed1d(Form):
    def build(self) -> None:
        self.conv, self.norm = nn.ConvTranspose1d(8, 8, 3, groups=2), nn.BatchNorm1d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x.flatten(2))))


class Transposed2d(Form):
    def build(self) -> None:
        self.conv, self.norm = nn.ConvTranspose2d(8, 8, 3, 2, bias=False), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x)))


class TransposedGrouped(Transposed2d):
    width = 16

    def build(self) -> None:
        self.conv, self.norm = nn.ConvTranspose2d(8, 16, 3, groups=4), nn.BatchNorm2d(16)


class TransposedTwice(Transposed2d):
    def middle(self, x):
        return super().middle(super().middle(x))


class Transposed3d(Conv3d):
    def build(self) -> None:
        self.conv, self.norm = nn.ConvTranspose3d(8, 8, 3, groups=2, bias=False), nn.BatchNorm3d(8)


class LinearNorm(Form):
    def build(self) -> None:
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

    def middle(self, x):
        return F.relu(self.norm(self.linear(x.mean((2, 3)))))


class LinearNormOtherAxis(Form):
    """(N, T, C): a batch norm's channels are axis 1, a linear layer's the last one; here both have 8."""

    def build(self) -> None:
        self.linear, self.norm = nn.Linear(36, 8), nn.BatchNorm1d(8)

    def middle(self, x):
        return F.relu(self.norm(self.linear(x.flatten(2))))


class LinearNormTransposed(Form):
    def build(self) -> None:
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

    def middle(self, x):
        return F.relu(self.norm(self.linear(x.flatten(2).transpose(1, 2)).transpose(1, 2)))


class ViewBetween(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm1d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x).view(x.shape[0], 8, -1)))


class ViewMovesChannels(Form):
    width = 2

    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(2)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x).view(x.shape[0], 2, 12, 12)))


class DropoutBetween(Form):
    def build(self) -> None:
        self.conv, self.drop, self.norm = conv(), nn.Dropout2d(0.5), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.drop(self.conv(x))))


class NormFirst(Form):
    def build(self) -> None:
        self.norm, self.conv = nn.BatchNorm2d(8), conv()

    def middle(self, x):
        return F.relu(self.conv(self.norm(x)))


class NormTwice(Form):
    def build(self) -> None:
        self.conv, self.norm1, self.norm2 = conv(), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm2(self.norm1(self.conv(x))))


class NormedOutput(Form):
    """The network's output is normalised, and both are returned as one."""

    def build(self) -> None:
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x):
        y = super().forward(x)
        return y + self.norm(y)


class InstanceNorm(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.InstanceNorm2d(8, affine=True, track_running_stats=True)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x)))


class OtherNorms(Form):
    def build(self) -> None:
        self.conv, self.instance, self.group = conv(), nn.InstanceNorm2d(8), nn.GroupNorm(4, 8)

    def middle(self, x):
        return F.relu(self.group(self.instance(self.conv(x))))


class WeightNorm(Form):
    def build(self) -> None:
        self.conv, self.norm = parametrizations.weight_norm(conv()), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x)))


class WeightNormHook(WeightNorm):
    def build(self) -> None:
        self.conv, self.norm = nn.utils.weight_norm(conv()), nn.BatchNorm2d(8)


class SpectralNorm(WeightNorm):
    def build(self) -> None:
        self.conv, self.norm = parametrizations.spectral_norm(conv()), nn.BatchNorm2d(8)


class SpectralNormHook(WeightNorm):
    def build(self) -> None:
        self.conv, self.norm = nn.utils.spectral_norm(conv()), nn.BatchNorm2d(8)


class Symmetric(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return (weight + weight.flip(-1)) / 2


class OwnParametrization(WeightNorm):
    """Two of them, on weight and bias, of a layer that is called twice."""

    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)
        parametrize.register_parametrization(self.conv, "weight", Symmetric())
        parametrize.register_parametrization(self.conv, "bias", nn.Softplus(), unsafe=True)

    def middle(self, x):
        return super().middle(super().middle(x))


class TiedOriginal(Form):
    """A parametrized weight whose original another layer uses as it is."""

    def build(self) -> None:
        self.conv1, self.conv2 = conv(), conv()
        self.conv2.weight = self.conv1.weight
        parametrize.register_parametrization(self.conv2, "weight", Symmetric())

    def middle(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class Standardised(Form):
    """Weight standardisation, computed in forward."""

    def build(self) -> None:
        self.conv, self.norm = conv(bias=False), nn.BatchNorm2d(8)

    def middle(self, x):
        weight = self.conv.weight
        weight = weight - weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.relu(self.norm(F.conv2d(x, weight, None, 1, 1)))


class MaskedAndScaled(Form):
    """A pruned linear layer whose weight has a gain, as equalized learning rates do."""

    def build(self) -> None:
        self.linear = nn.Linear(8, 8)
        self.register_buffer("mask", (torch.rand(8, 8) > 0.3).float())

    def middle(self, x):
        return F.relu(F.linear(x.mean((2, 3)), self.linear.weight * self.mask * 0.7, self.linear.bias * 2))


class DynamicKernel(Form):
    """A weight that depends on the input."""

    def build(self) -> None:
        self.conv = conv(bias=False)

    def middle(self, x):
        gain = torch.sigmoid(x.mean())
        return F.relu(F.conv2d(x, self.conv.weight * gain, None, 1, 1))


class RepVgg(Form):
    """Several branches in training, one convolution in evaluation."""

    def build(self) -> None:
        self.branch, self.point, self.deploy = conv(), nn.Conv2d(8, 8, 1), conv()

    def middle(self, x):
        return F.relu(self.branch(x) + self.point(x)) if self.training else F.relu(self.deploy(x))


class InPlace(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        y = self.norm(self.conv(x))
        y.add_(x)
        return F.relu_(y).mul_(2)


class InPlaceThroughAView(Form):
    """A channel is set to zero behind a convolution's back."""

    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        y = self.conv(x)
        y[:, 0] = 0
        y[:, 1:3] *= 3
        return F.relu(self.norm(y))


class InPlaceAfterReading(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def middle(self, x):
        y = self.conv(x)
        normed = self.norm(y)
        y.mul_(0.5)
        return F.relu(normed) + y


class ChangesItsInput(Form):
    def forward(self, x):
        x.sub_(0.5).div_(2)
        return super().forward(x)


class Counts(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen", torch.zeros(1))

    def middle(self, x):
        self.calls += 1
        self.seen.add_(x.shape[0])
        return F.relu(self.norm(self.conv(x)))


class NamedLikeOurs(Form):
    """Attention whose packed weight is cut, beside tensors with the names that the pieces would get."""

    def build(self) -> None:
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.attention.in_proj_weight_0 = nn.Parameter(torch.rand(8))
        self.attention.register_buffer("in_proj_weight_getitem", torch.rand(8))
        self.attention.register_buffer("in_proj_bias_0", torch.rand(8))
        self.own_bias = nn.Buffer(torch.rand(8))

    def middle(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        y, _ = self.attention(tokens, tokens.flip(1), tokens.flip(1), need_weights=False)
        own = self.attention.in_proj_weight_0 + self.attention.in_proj_weight_getitem + self.attention.in_proj_bias_0
        return (y * own + self.own_bias).mean(1)


class NamedLikeAGraph(Form):
    """Layers and tensors with the names of what a graph has itself, and with the names they would get instead."""

    def build(self) -> None:
        self.code, self.meta, self.recompile = conv(), nn.BatchNorm2d(8), nn.Sequential(conv(), nn.ReLU())
        self.graph = nn.Parameter(torch.rand(8, 1, 1))
        self.graph_1 = nn.Parameter(torch.rand(8, 1, 1))
        self.print_readable = nn.Buffer(torch.rand(8, 1, 1))
        self.delete_submodule = nn.Buffer(torch.rand(8, 1, 1), persistent=False)
        self.to_folder = nn.Buffer(torch.zeros(()))

    def middle(self, x):
        self.to_folder.add_(1)
        x = self.recompile(F.relu(self.meta(self.code(x))))
        return x * self.graph + self.graph_1 + self.print_readable * self.delete_submodule


class AttentionWithoutHeads(Form):
    """Attention over (batch, length, width), with and without a mask."""

    def build(self) -> None:
        self.project = nn.Linear(8, 8)

    def middle(self, x):
        tokens = self.project(x.flatten(2).transpose(1, 2))
        x = F.scaled_dot_product_attention(tokens, tokens.flip(1), tokens)
        return F.scaled_dot_product_attention(x, tokens, tokens, is_causal=True).mean(1)


class CutInSeveralWays(Form):
    """One packed weight by chunks, by sizes, by slices, along both axes and from the end."""

    def build(self) -> None:
        self.packed = nn.Parameter(torch.randn(24, 8) / 3)
        self.packed_0 = nn.Parameter(torch.randn(8))

    def middle(self, x):
        x = x.mean((2, 3))
        q, k, v = self.packed.chunk(3)
        a, b = self.packed.split([16, 8], dim=-2)
        left, _ = self.packed.split(4, dim=-1)
        first, *_ = self.packed.view(3, 8, 8).unbind(0)
        y = F.linear(x, q) + F.linear(F.relu(x), k) * F.linear(x, v) + F.linear(x, b, self.packed_0)
        y = y + F.linear(x, self.packed[-8:]) + F.linear(F.linear(x, a), self.packed[:16].t()) + F.linear(x, first)
        return y + F.linear(x[:, :4], left)[:, :8] + self.packed[:, 0].chunk(3)[0]


class BlurPool(Form):
    """A fixed kernel in a buffer, normalised."""

    def build(self) -> None:
        self.register_buffer("kernel", torch.ones(8, 1, 3, 3) / 9)
        self.norm = nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(F.conv2d(x, self.kernel, None, 2, 1, 1, 8)))


class Hooked(Form):
    def build(self) -> None:
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)
        self.conv.register_forward_hook(lambda *arguments: arguments[-1] * 2)

    def middle(self, x):
        return F.relu(self.norm(self.conv(x)))


class Ensemble(Form):
    """Two copies of one network that share a stem."""

    def build(self) -> None:
        first = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU())
        self.members = nn.ModuleList([first, copy.deepcopy(first), first])

    def middle(self, x):
        return sum(member(x) for member in self.members)


class CheckpointedDropPath(Form):
    def build(self) -> None:
        self.conv, self.norm, self.drop = conv(), nn.BatchNorm2d(8), nn.Dropout(0.5)

    def middle(self, x):
        y = self.norm(self.conv(x))
        y = y * torch.bernoulli(torch.full((len(x), 1, 1, 1), 0.5)) if self.training else y
        return x + self.drop(nn.Identity()(y))


FORMS = {
    kind.__name__: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Form) and kind is not Form
}
BY_BATCH = {"NoStatistics", "NoStatisticsNoAffine", "AlwaysTraining"}
"""Whose answer for one sample depends on the others in its batch."""


def make_form(name: str, seed: int = 0) -> nn.Module:
    """The network of this name, its batch norms as if it had been trained."""
    torch.manual_seed(seed)
    network = FORMS[name]()
    randomise_batch_norms(network, seed)
    return network.eval()


def randomise_batch_norms(network: nn.Module, seed: int = 0) -> None:
    """Statistics and parameters that differ from channel to channel."""
    generator = torch.Generator().manual_seed(seed)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d)
    for module in network.modules():
        if not isinstance(module, norms):
            continue
        with torch.no_grad():
            if module.running_mean is not None:
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.3)
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.3)
            if module.affine:
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.3)


def form_batch(n: int, seed: int = 1) -> torch.Tensor:
    """Inputs (n, *FORM_SHAPE)."""
    return torch.randn(n, *FORM_SHAPE, generator=torch.Generator().manual_seed(seed))
