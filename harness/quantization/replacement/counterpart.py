"""The quantization-friendly counterpart of a float module: how it is made, and that it has the same weights."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from harness.errors import ModelError, nearest

_SHOWN = 5


def make_counterpart(module: nn.Module, target_class: type[nn.Module], path: str) -> nn.Module:
    """A `target_class` in place of the module at `path`, with its weights, mode and device.

    Made by the class method `target_class.from_float(module)` where there is one, else by the constructor, each of
    whose arguments is read from the attribute of that name. Weights are carried over strictly: ModelError names the
    keys that are missing or left over.
    """
    place = f"`{path or type(module).__name__}` by {target_class.__name__}"
    from_float = getattr(target_class, "from_float", None)
    arguments = {} if from_float is not None else _arguments(module, target_class, place)
    try:
        counterpart = from_float(module) if from_float is not None else target_class(**arguments)
    except Exception as error:
        raise ModelError(
            f"replacing {place} failed: {type(error).__name__}: {error}",
            fix=f"correct `from_float` or the constructor of {target_class.__name__}",
        ) from error
    if not isinstance(counterpart, nn.Module):
        raise ModelError(f"replacing {place}: got {type(counterpart).__name__}", fix="return a torch.nn.Module")
    _carry_weights(module, counterpart, place)
    tensor = next((tensor for tensor in (*module.parameters(), *module.buffers())), None)
    if tensor is not None:
        counterpart.to(tensor.device)
    return counterpart.train(module.training)


def _arguments(module: nn.Module, target_class: type[nn.Module], place: str) -> dict[str, Any]:
    """Constructor arguments from the attributes of the float module."""
    arguments, missing = {}, []
    for name, parameter in inspect.signature(target_class).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if hasattr(module, name):
            value = getattr(module, name)
            # `bias` is a flag for constructors, and a tensor or None as an attribute.
            arguments[name] = value is not None if name == "bias" and not isinstance(value, bool) else value
        elif parameter.default is parameter.empty:
            missing.append(name)
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ModelError(
            f"replacing {place}: {type(module).__name__} has no attribute {names} to construct it from",
            fix=f"keep the arguments as attributes, or define `{target_class.__name__}.from_float(module)`",
        )
    return arguments


def _carry_weights(module: nn.Module, counterpart: nn.Module, place: str) -> None:
    source, own = module.state_dict(), counterpart.state_dict()
    missing, unexpected = sorted(own.keys() - source.keys()), sorted(source.keys() - own.keys())
    if missing or unexpected:
        problems = [("it lacks", unexpected), ("it needs more", missing)]
        told = "; ".join(f"{what}: {_listed(keys)}" for what, keys in problems if keys)
        guess = nearest(unexpected[0], missing) if unexpected else None
        fix = f"name `{guess}` `{unexpected[0]}`" if guess else "give both the same parameters and buffers"
        raise ModelError(f"replacing {place}: the weights do not fit: {told}", fix=fix)
    for key, tensor in source.items():
        if tensor.shape != own[key].shape:
            raise ModelError(
                f"replacing {place}: `{key}` is {tuple(own[key].shape)} instead of {tuple(tensor.shape)}",
                fix="construct the counterpart with the float module's sizes",
            )
    with torch.no_grad():
        counterpart.load_state_dict(source, strict=True)


def _listed(keys: list[str]) -> str:
    shown = ", ".join(f"`{key}`" for key in keys[:_SHOWN])
    return shown + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
