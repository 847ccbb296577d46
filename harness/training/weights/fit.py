"""Weights of a file into a network: the part that fits, or what keeps every part from fitting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.errors import ModelError, nearest
from harness.training.weights.files import SAVE, read_file
from harness.training.weights.parts import MatchedPart, Tensors, chosen_part, required, tensor_parts, with_names_of
from harness.training.weights.values import converted, refused_value

_SHOWN = 4
_AVERAGED = ("ema", "average", "averaged", "swa")
_USUAL = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights", "module", "online_model")
"""Names under which trainers save the network that they train."""


@dataclass(frozen=True)
class Loaded:
    """Where in the file the weights were found."""

    part: str | None
    """None for the whole file."""
    notes: tuple[str, ...]
    """What the user should know: the part, prefixes that were removed, number formats that were converted."""

    @property
    def note(self) -> str | None:
        """All notes in one line."""
        return "; ".join(self.notes) or None


@dataclass(frozen=True)
class _Differences:
    """Between the names and shapes of a part and those of the network."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshaped)


def load_into(model: torch.nn.Module, path: Path, key: str | None = None) -> Loaded:
    """Load the part of a weights file that fits the network.

    The file may be a state dict or a checkpoint with one anywhere inside; names may have a prefix that the network's
    lack (`module.`, `_orig_mod.`, `model.`, ...) or lack one that they have. A part fits when it has every tensor of
    the network, in its shape, and no other. Of several parts that fit, `key` names one; without it, the averaged (EMA)
    weights are taken before those that were trained.

    Args:
        model: gets the weights; it stays as it is when nothing fits.
        path: a file of torch or safetensors.
        key: the part to take, keys joined by dots.

    Raises:
        ModelError: the file is of another kind, or no part fits: with missing, unexpected and mis-shaped names.
    """
    content = read_file(path)
    parts = list(tensor_parts(content))
    if not parts:
        raise ModelError(f"{path.name} holds no state dict", fix=SAVE)
    state = model.state_dict()
    candidates = parts if key is None else chosen_part(parts, key)
    named = [each for part in candidates for each in with_names_of(part, state.keys())]
    fitting = [each for each in named if not _differences(model, state, each)]
    if not fitting:
        raise _misfit(model, state, path, named)
    chosen, others = _preferred(fitting, path)
    tensors, notes = converted(chosen.tensors, state)
    if (reason := refused_value(tensors, model)) is not None:
        raise ModelError(f"weights {path.name}{_at(chosen)}: {reason}", fix="save them again from a sound network")
    _load(model, {name: tensors[name] for name in tensors if name in state}, path)
    return Loaded(chosen.part.key or None, (*_said(chosen, others), *notes))


def _load(model: torch.nn.Module, tensors: Tensors, path: Path) -> None:
    try:
        model.load_state_dict(dict(tensors), strict=False)
    except Exception as error:  # a module may load its tensors in its own way
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"weights {path.name} cannot be loaded: {first_line}", fix="correct the network") from error


def _differences(model: torch.nn.Module, state: Tensors, named: MatchedPart) -> _Differences:
    tied = _tied(model, named.tensors)
    missing = [name for name in required(state.keys()) if name not in named.tensors and name not in tied]
    unexpected = [name for name in required(named.tensors.keys()) if name not in state]
    misshaped = [name for name, value in named.tensors.items() if name in state and value.shape != state[name].shape]
    return _Differences(tuple(sorted(missing)), tuple(sorted(unexpected)), tuple(misshaped))


def _tied(model: torch.nn.Module, tensors: Tensors) -> set[str]:
    """Names of parameters that the file has under another name: safetensors keeps one of tied weights."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return {name for names in groups.values() if any(name in tensors for name in names) for name in names}


def _rank(named: MatchedPart) -> int:
    """0 for averaged weights, 1 for what trainers call the network that they train, 2 for other names."""
    words = f"{named.part.key}.{named.removed}".lower().replace("-", "_").rstrip(".").split(".")
    if any(piece in _AVERAGED for word in words for piece in word.split("_")):
        return 0
    return 1 if words[0] == "" or any(word in _USUAL for word in words) else 2


def _preferred(fitting: Sequence[MatchedPart], path: Path) -> tuple[MatchedPart, list[MatchedPart]]:
    """The part to take and those that would fit too; ModelError where nothing says which is meant."""
    best = min(map(_rank, fitting))
    first, *rest = [named for named in fitting if _rank(named) == best]
    unlike = [named for named in rest if not _is_same(first.tensors, named.tensors)]
    if unlike:
        names = ", ".join(f"`{_key(named)}`" for named in (first, *unlike))
        raise ModelError(f"several parts of {path.name} fit: {names}", fix="choose one with `weights_key`")
    return first, [named for named in fitting if named is not first and named not in rest]


def _key(named: MatchedPart) -> str:
    """What to write as `weights_key` for the part."""
    return ".".join(filter(None, (named.part.key, named.removed.rstrip(".")))) or "(the file itself)"


def _is_same(one: Tensors, other: Tensors) -> bool:
    common = one.keys() & other.keys()
    return all(torch.equal(one[name], other[name]) for name in common)


def _said(chosen: MatchedPart, others: Sequence[MatchedPart]) -> Iterator[str]:
    if chosen.where:
        yield chosen.where
    if others:
        names = ", ".join(f"`{_key(named)}`" for named in others)
        yield f"{names} would fit too; `weights_key` chooses"
    outside = len(chosen.outside)
    if outside and not others:
        yield f"{outside} other tensors of the file not taken, such as `{chosen.outside[0]}`"


def _at(named: MatchedPart) -> str:
    return f" ({named.where})" if named.where else ""


def _misfit(model: torch.nn.Module, state: Tensors, path: Path, named: Sequence[MatchedPart]) -> ModelError:
    """Error about the part of the file that fits best."""
    closest = max(named, key=lambda each: (each.fitting, -len(each.tensors)))
    differences = _differences(model, state, closest)
    described = "; ".join(_described(differences, state, closest.tensors))
    what = f"weights {path.name}{_at(closest)} do not fit {type(model).__name__}: {described}"
    return ModelError(what, fix="check `factory` and `args` against the file, or train with `weights: train`")


def _described(differences: _Differences, state: Tensors, tensors: Tensors) -> Iterator[str]:
    if differences.misshaped:
        shown = [
            f"`{name}` {tuple(tensors[name].shape)}, in the network {tuple(state[name].shape)}"
            for name in differences.misshaped
        ]
        yield f"{len(shown)} of another shape ({_few(shown)})"
    if differences.missing:
        shown = [_with_guess(name, differences.unexpected) for name in differences.missing]
        yield f"{len(shown)} missing ({_few(shown)})"
    if differences.unexpected:
        yield f"{len(differences.unexpected)} unexpected ({_few([f'`{name}`' for name in differences.unexpected])})"


def _with_guess(name: str, unexpected: Sequence[str]) -> str:
    guess = nearest(name, unexpected)
    return f"`{name}`, perhaps the file's `{guess}`" if guess else f"`{name}`"


def _few(items: Sequence[str]) -> str:
    return ", ".join([*items[:_SHOWN], *(["..."] if len(items) > _SHOWN else [])])
