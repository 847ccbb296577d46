"""The numbers in a weights file: their formats, and whether they are numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]


def converted(tensors: Tensors, state: Tensors) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors in the network's number formats, and a note for each format that was converted.

    Only floating-point numbers are converted into each other: integers in place of floats are another network's.
    """
    found: dict[str, torch.Tensor] = {}
    formats: Counter[str] = Counter()
    for name, tensor in tensors.items():
        wanted = state[name].dtype if name in state else tensor.dtype
        is_float = tensor.is_floating_point() and wanted.is_floating_point
        if is_float and tensor.dtype != wanted:
            formats[f"{tensor.dtype} converted to {wanted}".replace("torch.", "")] += 1
            tensor = tensor.to(wanted)  # noqa: PLW2901
        found[name] = tensor
    return found, [f"{count} tensors of {text}" for text, count in formats.items()]


def refused_value(tensors: Tensors, model: torch.nn.Module) -> str | None:
    """Why the numbers cannot be the network's weights; None when they can."""
    state = model.state_dict()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    not_finite = []
    for name, tensor in tensors.items():
        if name not in state:
            continue
        if (reason := _wrong_kind(name, tensor, state[name])) is not None:
            return reason
        if tensor.is_floating_point() and not _is_sound(tensor, None if name in parameters else state[name]):
            not_finite.append(name)
    if not not_finite:
        return None
    broken = int((~torch.isfinite(tensors[not_finite[0]].float())).sum())
    return f"{len(not_finite)} tensors hold NaN or infinity, first `{not_finite[0]}` ({broken:,} values)"


def _wrong_kind(name: str, tensor: torch.Tensor, own: torch.Tensor) -> str | None:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return f"`{name}` is no dense tensor of plain numbers ({tensor.dtype}, {tensor.layout})"
    if own.is_floating_point() != tensor.is_floating_point() or own.is_complex() != tensor.is_complex():
        return f"`{name}` is {tensor.dtype} in the file, {own.dtype} in the network".replace("torch.", "")
    return None


def _is_sound(tensor: torch.Tensor, buffer: torch.Tensor | None) -> bool:
    """Finite; a buffer, such as a mask of attention, may hold infinity where the network's own does."""
    if bool(torch.isfinite(tensor.float()).all()):
        return True
    return buffer is not None and not bool(torch.isnan(tensor).any()) and bool(torch.isinf(buffer).any())
