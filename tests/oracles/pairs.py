"""Pairs of networks that compute the same, and where quantization has to give the same, too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from oracles.forms import Symmetric, randomise_batch_norms
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from harness.quantization.capture.eager import copy_of

MODES = ("folded", "frozen", "live")


@dataclass(frozen=True)
class Pair:
    """How two equal networks are made, and what is equal beyond FP32."""

    make: Callable[[], tuple[nn.Module, nn.Module]]
    ptq: bool
    """False where the layers are cut otherwise, so that other tensors are rounded."""
    modes: Sequence[str]
    """QAT's, in which training moves both alike: the trained parameters correspond one to one."""


PAIRS: dict[str, Pair] = {}


def pair(ptq: bool = True, modes: Sequence[str] = MODES, **variants: tuple[object, ...]):
    """Enter a function that makes a pair; once for each of `variants`, whose values are its arguments."""

    def enter(make):
        for suffix, arguments in (variants or {"": ()}).items():
            name = f"{make.__name__}_{suffix}" if suffix else make.__name__
            PAIRS[name] = Pair(lambda arguments=arguments: seeded(make, arguments), ptq, modes)
        return make

    return enter


def seeded(make, arguments):
    torch.manual_seed(3)
    first, second = make(*arguments)
    return first, second


class Lambda(nn.Module):
    """A function with modules of its own."""

    def __init__(self, function, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def network(*middle: nn.Module, width: int = 8) -> nn.Sequential:
    """A stem, the middle from (N, 8, 6, 6) to (N, width, …), and a head; batch norms randomised."""
    torch.manual_seed(5)
    stem, head = nn.Conv2d(2, 8, 3, 2, 1), nn.Linear(width, 5)
    pool = Lambda(lambda _, x: x.flatten(2).mean(2) if x.ndim > 2 else x)
    return nn.Sequential(stem, nn.ReLU(), *middle, nn.ReLU(), pool, head)


def twins(*modules: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules, batch norms randomised, and a copy of them."""
    group = nn.Sequential(*modules)
    randomise_batch_norms(group)
    return list(group), list(copy.deepcopy(group))


LAYERS = {
    "conv1d": (lambda **o: nn.Conv1d(8, 8, 3, **o), nn.BatchNorm1d, 2),
    "conv2d": (lambda **o: nn.Conv2d(8, 8, 3, **o), nn.BatchNorm2d, 0),
    "conv3d": (lambda **o: nn.Conv3d(8, 8, 3, padding=1, **o), nn.BatchNorm3d, 3),
    "depthwise": (lambda **o: nn.Conv2d(8, 8, 3, groups=8, **o), nn.BatchNorm2d, 0),
    "grouped": (lambda **o: nn.Conv2d(8, 8, 3, groups=2, **o), nn.BatchNorm2d, 0),
    "transposed": (lambda **o: nn.ConvTranspose2d(8, 8, 3, **o), nn.BatchNorm2d, 0),
    "transposed_grouped": (lambda **o: nn.ConvTranspose2d(8, 8, 3, groups=4, **o), nn.BatchNorm2d, 0),
    "linear": (lambda **o: nn.Linear(8, 8, **o), nn.BatchNorm1d, 1),
}
RESHAPES = {0: lambda x: x, 1: lambda x: x.mean((2, 3)), 2: lambda x: x.flatten(2), 3: lambda x: x.unflatten(2, (2, 3))}
EACH_LAYER = {name: (name,) for name in LAYERS}


def reshape(kind: str) -> nn.Module:
    function = RESHAPES[LAYERS[kind][2]]
    return Lambda(lambda _, x: function(x))


@pair(**EACH_LAYER)
def bias_before_batch_norm(kind: str):
    make, norm_class, _ = LAYERS[kind]
    biased, norm = twins(make(), norm_class(8))[0]
    nn.init.uniform_(biased.bias, -3, 3)
    plain, plain_norm = copy.deepcopy(biased), copy.deepcopy(norm)
    plain.bias = None
    plain_norm.running_mean -= biased.bias.detach()
    return network(reshape(kind), biased, norm), network(reshape(kind), plain, plain_norm)


@pair(modes=("folded",), **EACH_LAYER)
def folded_beforehand(kind: str):
    make, norm_class, _ = LAYERS[kind]
    layer, norm = twins(make(), norm_class(8))[0]
    folded = copy.deepcopy(layer)
    with torch.no_grad():
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        if kind.startswith("transposed"):
            groups = layer.groups
            by_group = folded.weight.view(groups, 8 // groups, 8 // groups, 3, 3)
            by_group.mul_(factor.view(groups, 1, 8 // groups, 1, 1))
        else:
            folded.weight.mul_(factor.view(-1, *[1] * (folded.weight.ndim - 1)))
        folded.bias.copy_((layer.bias - norm.running_mean) * factor + norm.bias)
    return network(reshape(kind), layer, norm), network(reshape(kind), folded)


def with_conv_and_norm(change):
    """A pair of conv and batch norm as they are, and as `change(conv, norm)` makes of copies of them."""
    (conv, norm), (conv2, norm2) = twins(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    return network(conv, norm), network(*change(conv2, norm2))


@pair(
    identity=(nn.Identity,),
    dropout=(nn.Dropout,),
    dropout2d=(nn.Dropout2d,),
    alpha=(nn.AlphaDropout,),
    feature_alpha=(nn.FeatureAlphaDropout,),
    empty=(nn.Sequential,),
)
def identities_of_evaluation(kind):
    return with_conv_and_norm(lambda conv, norm: (kind(), conv, kind(), norm, kind()))


@pair()
def nested():
    return with_conv_and_norm(lambda conv, norm: (nn.Sequential(nn.Sequential(conv), nn.Sequential(norm)),))


@pair()
def called_as_functions():
    def call(self, x):
        c, n = self.conv, self.norm
        y = F.conv2d(x, c.weight, c.bias, padding=1)
        return F.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias)

    return with_conv_and_norm(lambda conv, norm: (Lambda(call, conv=conv, norm=norm),))


@pair()
def padding_by_name():
    def change(conv, norm):
        conv.padding = "same"
        return conv, norm

    return with_conv_and_norm(change)


@pair()
def padded_by_a_module():
    def change(conv, norm):
        conv.padding = (0, 0)
        return nn.ZeroPad2d(1), conv, norm

    # Padding with zeros changes no range and zero is exact, but it stands between two quantized tensors.
    return with_conv_and_norm(change)


@pair(
    weight_norm=(parametrizations.weight_norm,),
    weight_norm_hook=(nn.utils.weight_norm,),
    spectral_norm=(parametrizations.spectral_norm,),
    spectral_norm_hook=(nn.utils.spectral_norm,),
    own=(lambda conv: parametrize.register_parametrization(conv, "weight", Symmetric()) or conv,),
)
def parametrized(apply):
    torch.manual_seed(7)
    made = apply(nn.Conv2d(8, 8, 3, padding=1)).eval()
    made(torch.zeros(1, 8, 4, 4))  # hooks compute the weight in a call
    plain = nn.Conv2d(8, 8, 3, padding=1)
    with torch.no_grad():
        plain.weight.copy_(made.weight)
        plain.bias.copy_(made.bias)
    norm, norm2 = (each[0] for each in twins(nn.BatchNorm2d(8)))
    return network(made, norm), network(plain, norm2)


@pair(
    standardised=(lambda w: (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True),),
    scaled=(lambda w: w * 0.7,),
    stored_transposed=(lambda w: w.transpose(0, 1),),
    sliced=(lambda w: torch.cat([w[4:], w[:4]]),),
    flipped=(lambda w: w.flip(0),),
    reshaped=(lambda w: w.reshape(8, 72).reshape(8, 8, 3, 3),),
    masked=(lambda w: w * (w.abs() > 0.05),),
)
def computed_weight(function):
    torch.manual_seed(7)
    computed, plain = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    with torch.no_grad():
        plain.weight.copy_(function(computed.weight))
        plain.bias.copy_(computed.bias)
    norm, norm2 = (each[0] for each in twins(nn.BatchNorm2d(8)))
    call = Lambda(lambda self, x: F.conv2d(x, function(self.conv.weight), self.conv.bias, padding=1), conv=computed)
    return network(call, norm), network(plain, norm2)


@pair()
def packed_projections():
    packed = nn.Parameter(torch.randn(16, 8) / 3)
    owner = nn.Module()
    owner.packed = packed
    left, right = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    with torch.no_grad():
        left.weight.copy_(packed[:8])
        right.weight.copy_(packed[8:])

    def cut(self, x):
        a, b = self.owner.packed.chunk(2, -2)
        return F.linear(F.relu(F.linear(x.mean((2, 3)), a)), b)

    def whole(self, x):
        return self.right(F.relu(self.left(x.mean((2, 3)))))

    return network(Lambda(cut, owner=owner)), network(Lambda(whole, left=left, right=right))


@pair()
def one_convolution_with_two_norms():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    norm1, norm2 = twins(nn.BatchNorm2d(8), nn.BatchNorm2d(8))[0]

    def call(self, x):
        return self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))

    def make(second):
        return Lambda(call, conv1=conv, conv2=second, norm1=norm1, norm2=norm2)

    return network(make(conv)), network(make(copy.deepcopy(conv)))


@pair()
def one_norm_of_two_convolutions():
    conv1, conv2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    (norm,), (norm2,) = twins(nn.BatchNorm2d(8))
    own = (conv1, norm, nn.ReLU(), conv2, norm2)
    return network(conv1, norm, nn.ReLU(), conv2, norm), network(*copy.deepcopy(nn.Sequential(*own)))


@pair(modes=())
def unrolled():
    """A block that is applied twice: shared weights sum the gradients of both calls."""
    (conv, norm), (conv2, norm2) = twins(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    twice = (conv, norm, nn.ReLU(), conv, norm)
    return network(*twice), network(conv, norm, nn.ReLU(), conv2, norm2)


@pair()
def tied_by_parameter():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    tied = copy.deepcopy(conv)
    tied.weight, tied.bias = conv.weight, conv.bias
    return network(conv, nn.ReLU(), tied), network(conv, nn.ReLU(), conv)


def permuted(layer: nn.Module, order: torch.Tensor, axis: int) -> nn.Module:
    changed = copy.deepcopy(layer)
    with torch.no_grad():
        changed.weight.copy_(layer.weight.index_select(axis, order))
        if axis == 0 and layer.bias is not None:
            changed.bias.copy_(layer.bias[order])
        if isinstance(layer, nn.BatchNorm2d):
            changed.running_mean.copy_(layer.running_mean[order])
            changed.running_var.copy_(layer.running_var[order])
    return changed


@pair(conv=(False,), depthwise=(True,))
def permuted_channels(depthwise: bool):
    conv, norm = twins(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))[0]
    middle = [nn.Conv2d(8, 8, 3, groups=8)] if depthwise else []
    last = nn.Conv2d(8, 8, 3)
    order = torch.randperm(8)
    moved = [permuted(layer, order, 0) for layer in (conv, norm, *middle)]
    return (
        network(conv, norm, nn.ReLU(), *middle, last),
        network(*moved[:2], nn.ReLU(), *moved[2:], permuted(last, order, 1)),
    )


@pair(modes=())
def scale_moved_through_relu():
    """A power of two changes no rounding; training moves the two layers at other speeds."""
    first, last = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    first2, last2 = copy.deepcopy(first), copy.deepcopy(last)
    with torch.no_grad():
        first2.weight.mul_(4), first2.bias.mul_(4), last2.weight.div_(4)
    return network(first, nn.ReLU(), last), network(first2, nn.ReLU(), last2)


@pair(ptq=False, modes=())
def scales_of_channels_moved_through_relu():
    first, last = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
    first2, last2, scale = copy.deepcopy(first), copy.deepcopy(last), torch.rand(8) + 0.5
    with torch.no_grad():
        first2.weight.mul_(scale.view(-1, 1, 1, 1)), first2.bias.mul_(scale)
        last2.weight.div_(scale.view(1, -1, 1, 1))
    return network(first, nn.ReLU(), last), network(first2, nn.ReLU(), last2)


@pair(modes=("folded",))
def statistics_in_gamma_and_beta():
    def change(conv, norm):
        with torch.no_grad():
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            norm.bias.sub_(norm.running_mean * factor)
            norm.weight.copy_(factor)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
        return conv, norm

    return with_conv_and_norm(change)


@pair()
def affine_of_ones():
    (conv, norm), (conv2, norm2) = twins(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, affine=False))
    ones = nn.BatchNorm2d(8)
    ones.running_mean, ones.running_var = norm2.running_mean, norm2.running_var
    return network(conv, norm), network(conv2, ones)


@pair(modes=("folded",))
def two_batch_norms_as_one():
    def change(conv, norm):
        half = copy.deepcopy(norm)
        with torch.no_grad():
            half.weight.copy_((half.running_var + half.eps).sqrt() * 0.5)
            half.bias.copy_(half.running_mean * 0.5)  # half(x) = x / 2
            norm.running_mean.div_(2)
            norm.running_var.copy_((norm.running_var + norm.eps) / 4 - norm.eps)
        return conv, half, norm

    return with_conv_and_norm(change)


@pair(modes=())
def dense_as_grouped():
    """The zeros of the dense one would train."""
    grouped, dense = nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        dense.weight.zero_()
        dense.weight[:4, :4] = grouped.weight[:4]
        dense.weight[4:, 4:] = grouped.weight[4:]
        dense.bias.copy_(grouped.bias)
    return network(grouped), network(dense)


@pair(modes=())
def kernel_of_one_in_three():
    small, large = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
    with torch.no_grad():
        large.weight.zero_()
        large.weight[:, :, 1:2, 1:2] = small.weight
        large.bias.copy_(small.bias)
    return network(small), network(large)


def halves(layer: nn.Conv2d, axis: int) -> list[nn.Conv2d]:
    sizes = (8, 4) if axis == 0 else (4, 8)
    made = [nn.Conv2d(*sizes, 3, bias=axis == 0 or i == 0) for i in range(2)]
    with torch.no_grad():
        for part, weight in zip(made, layer.weight.chunk(2, axis), strict=True):
            part.weight.copy_(weight)
        for part, bias in zip(made, layer.bias.chunk(2) if axis == 0 else (layer.bias,), strict=False):
            part.bias.copy_(bias)
    return made


@pair(ptq=False, modes=())
def split_by_outputs():
    layer = nn.Conv2d(8, 8, 3)
    left, right = halves(layer, 0)
    call = Lambda(lambda self, x: torch.cat([self.left(x), self.right(x)], 1), left=left, right=right)
    return network(layer), network(call)


@pair(ptq=False, modes=())
def split_by_inputs():
    layer = nn.Conv2d(8, 8, 3)
    left, right = halves(layer, 1)
    call = Lambda(lambda self, x: self.left(x[:, :4]) + self.right(x[:, 4:]), left=left, right=right)
    return network(layer), network(call)


@pair(ptq=False, modes=())
def grouped_as_two():
    layer = nn.Conv2d(8, 8, 3, groups=2)
    parts = [nn.Conv2d(4, 4, 3) for _ in range(2)]
    with torch.no_grad():
        for part, weight, bias in zip(parts, layer.weight.chunk(2), layer.bias.chunk(2), strict=True):
            part.weight.copy_(weight), part.bias.copy_(bias)

    def call(self, x):
        return torch.cat([self.left(x[:, :4]), self.right(x[:, 4:])], 1)

    return network(layer), network(Lambda(call, left=parts[0], right=parts[1]))


@pair(ptq=False, modes=())
def linear_as_convolution():
    linear, conv = nn.Linear(8, 8), nn.Conv2d(8, 8, 1)
    with torch.no_grad():
        conv.weight.copy_(linear.weight[:, :, None, None]), conv.bias.copy_(linear.bias)
    last = Lambda(lambda self, x: self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), linear=linear)
    return network(conv), network(last)


@pair(
    silu=(nn.SiLU(), lambda x: x * torch.sigmoid(x)),
    relu6=(nn.ReLU6(), lambda x: F.hardtanh(x, 0.0, 6.0)),
    relu_in_place=(nn.ReLU(), lambda x: x.relu_()),
    silu_in_place=(nn.SiLU(), lambda x: F.silu(x, inplace=True)),
    leaky_in_place=(nn.LeakyReLU(0.1), lambda x: F.leaky_relu_(x, 0.1)),
)
def activation_spelled_otherwise(module, function):
    spelled = Lambda(lambda _, x: function(x))
    (conv, norm), (conv2, norm2) = twins(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    last = nn.Conv2d(8, 8, 3)
    return network(conv, norm, module, last), network(conv2, norm2, spelled, copy.deepcopy(last))


@pair()
def residual_in_place():
    def in_place(self, x):
        y = self.norm(self.conv(x))
        y += x
        return F.relu_(y)

    (conv, norm), (conv2, norm2) = twins(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    second = Lambda(lambda self, x: F.relu(self.norm(self.conv(x)).add(x)), conv=conv2, norm=norm2)
    return network(Lambda(in_place, conv=conv, norm=norm)), network(second)


@pair(float64=(torch.float64,), float16=(torch.float16,), bfloat16=(torch.bfloat16,))
def number_types(dtype):
    first = network(*twins(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))[0]).to(dtype)
    return first, copy.deepcopy(first).float()


@pair(
    train=(lambda net: net.train(),),
    frozen=(lambda net: net.requires_grad_(False),),
    channels_last=(lambda net: net.to(memory_format=torch.channels_last),),
    unused=(lambda net: net.add_module("unused", nn.Conv2d(3, 3, 3)),),
    buffers=(lambda net: net.register_buffer("some_bias", torch.ones(3)),),
)
def states_that_mean_nothing(change):
    first = network(*twins(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))[0])
    second = Lambda(lambda self, x: self.inner(x), inner=copy.deepcopy(first))
    change(second)
    return first, second


@pair()
def a_counter():
    class Counting(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.layer(x)

    return with_conv_and_norm(lambda conv, norm: (Counting(conv), norm))


def evaluated(net: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """What the eager network computes, in float32."""
    with torch.no_grad():
        return copy_of(net).float().eval()(batch.clone())
