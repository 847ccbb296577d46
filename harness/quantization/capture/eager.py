"""The eager network as it is captured: a copy in evaluation, in float32, with computed weights baked in."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from harness.errors import ModelError

CUMULATIVE_MOMENTUM = 0.1
"""Replaces a batch norm's `momentum=None`, an average over all batches that a captured network cannot continue."""


def inference_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU in evaluation and float32, whose weights are plain parameters; `model` is not modified.

    Raises ModelError for networks without values (lazy modules that never ran, the meta device) and complex ones.
    """
    _require_values(model)
    copied = copy_of(model).cpu().eval().float()
    with torch.no_grad():
        for module in list(copied.modules()):
            _bake(module)
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is None:
                module.momentum = CUMULATIVE_MOMENTUM
    return copied


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy, also of modules that keep computed tensors (hooks such as `weight_norm` do)."""
    memo: dict[int, object] = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, memo)


def all_float32(model: nn.Module) -> bool:
    """Whether no parameter or buffer has another floating-point type."""
    tensors = (*model.parameters(), *model.buffers())
    return all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point())


def run_lazy(model: nn.Module, example: torch.Tensor) -> None:
    """Run a network with lazy modules once, which makes them ordinary ones; others are left as they are."""
    if any(isinstance(module, LazyModuleMixin) for module in model.modules()):
        with torch.no_grad():
            model(example)


def _require_values(model: nn.Module) -> None:
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ModelError(
                f"`{path}` has no shape yet: its module is lazy and never ran",
                fix="call the network once on an example in its factory, or give the sizes",
            )
        if tensor.is_meta:
            raise ModelError(f"`{path}` is on the meta device and has no values", fix="create it on the CPU")
        if tensor.is_complex():
            raise ModelError(
                f"`{path}` is complex ({tensor.dtype}); engines compute real numbers",
                fix="write the network with real and imaginary parts as two tensors",
            )


def _bake(module: nn.Module) -> None:
    """Replace weights that a parametrization or a hook computes by their values."""
    if parametrize.is_parametrized(module):
        _bake_parametrizations(module)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)


def _bake_parametrizations(module: nn.Module) -> None:
    # Not `remove_parametrizations`: it changes the class, which the caller's module shares, and writes into the
    # original tensor, which another module may share.
    assert isinstance(module.parametrizations, nn.ModuleDict)
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    trains = {name: any(True for _ in chain.parameters()) for name, chain in module.parametrizations.items()}
    plain_class = parametrize.type_before_parametrizations(module)
    delattr(module, "parametrizations")
    module.__class__ = plain_class
    for name, value in values.items():
        if trains[name]:
            module.register_parameter(name, nn.Parameter(value))
        else:
            module.register_buffer(name, value)
