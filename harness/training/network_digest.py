"""A checksum of what a network is before it is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import torch
from torch import nn


def network_sha256(model: nn.Module) -> str:
    """sha256 over layers, their numbers (such as a dropout's share), and all tensors in them with their values."""
    total = hashlib.sha256()
    for name, module in model.named_modules():
        total.update(f"{name} {type(module).__qualname__}\n".encode())
        for key, value in sorted(_attributes(module), key=itemgetter(0)):
            total.update(f"{key} ".encode())
            if isinstance(value, torch.Tensor):
                _add_tensor(total, value)
            else:
                total.update(f"{value!r}\n".encode())
    return total.hexdigest()


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    for name, value in vars(module).items():
        if _is_number(value) or isinstance(value, torch.Tensor):
            yield name, value


def _is_number(value: object) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(each, bool | int | float | complex) for each in numbers)


def _add_tensor(total: Any, tensor: torch.Tensor) -> None:
    total.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.layout}\n".encode())
    if tensor.layout == torch.strided and tensor.device.type != "meta" and not tensor.is_quantized:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
