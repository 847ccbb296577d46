"""The parts of a weights file that may be the network's, and how the names in them differ from the network's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harness.errors import ModelError, nearest

Tensors = Mapping[str, torch.Tensor]
_MOST_DEPTH = 5
_WRAPPERS = ("module", "_orig_mod")
"""Components that DataParallel, DistributedDataParallel and torch.compile put into names, at any depth."""
_COUNTER = "num_batches_tracked"
"""Counter of batch norm, which older files lack and no deployed network uses."""


@dataclass(frozen=True)
class Part:
    """One state dict in the file."""

    key: str
    """Keys that lead to it, joined by dots; empty for the file itself."""
    tensors: Tensors


@dataclass(frozen=True)
class MatchedPart:
    """A part with the names that the network uses."""

    part: Part
    removed: str
    """Prefix that the names in the file have and the network's have not."""
    added: str
    tensors: Tensors
    """By the network's names; may hold others."""
    outside: tuple[str, ...] = ()
    """Names in the part without the prefix: they belong to something around the network."""
    fitting: int = 0
    """How many names of the network are among them."""

    @property
    def where(self) -> str:
        """The part and what was done to its names, for messages."""
        said = [f"part `{self.part.key}`"] if self.part.key else []
        said += [f"prefix `{self.removed}` removed"] if self.removed else []
        said += [f"prefix `{self.added}` added"] if self.added else []
        return ", ".join(said)


def tensor_parts(content: Any, key: str = "", depth: int = 0) -> Iterator[Part]:
    """Every mapping in the file that holds tensors by name, the outermost first."""
    if not isinstance(content, Mapping) or depth > _MOST_DEPTH:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield Part(key, tensors)
    for name, value in named.items():
        yield from tensor_parts(value, f"{key}.{name}" if key else name, depth + 1)


def chosen_part(parts: Collection[Part], key: str) -> list[Part]:
    """The part with this key; also a prefix of names that lie flat in a part. ModelError where there is none."""
    exact = [part for part in parts if part.key == key]
    if exact:
        return exact
    for part in parts:
        start = f"{part.key}." if part.key else ""
        prefix = f"{key.removeprefix(start)}." if key.startswith(start) else None
        inside = {name: tensor for name, tensor in part.tensors.items() if prefix and name.startswith(prefix)}
        if prefix and inside:
            return [Part(key, {name.removeprefix(prefix): tensor for name, tensor in inside.items()})]
    known = [part.key for part in parts if part.key]
    guess = nearest(key, known)
    fix = f"did you mean `{guess}`?" if guess else f"it has: {', '.join(known) or 'one part, without a name'}"
    raise ModelError(f"the weights file has no part `{key}` with tensors", fix=fix)


def with_names_of(part: Part, names: Collection[str]) -> list[MatchedPart]:
    """The part under every prefix that gives it names of the network, the most fitting first; itself if none does."""
    found: dict[tuple[str, str], MatchedPart] = {}
    for tensors in (part.tensors, _without_wrappers(part.tensors)):
        for named in (*_removed(part, tensors, names), *_added(part, tensors, names)):
            found.setdefault((named.removed, named.added), named)
    ranked = sorted(found.values(), key=lambda named: -named.fitting)
    return ranked or [MatchedPart(part, "", "", part.tensors)]


def required(names: Collection[str]) -> set[str]:
    """Names that a weights file must have."""
    return {name for name in names if not name.endswith(_COUNTER)}


def _removed(part: Part, tensors: Tensors, names: Collection[str]) -> Iterator[MatchedPart]:
    prefixes: Counter[str] = Counter()
    for name in tensors:
        prefixes.update(prefix for prefix, rest in _splits(name) if rest in names)
    for prefix, count in prefixes.items():
        inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        outside = tuple(name for name in tensors if not name.startswith(prefix)) if prefix else ()
        shown = _original_prefix(part, prefix, next(iter(inside))) if tensors is not part.tensors else prefix
        yield MatchedPart(part, shown, "", inside, outside, count)


def _added(part: Part, tensors: Tensors, names: Collection[str]) -> Iterator[MatchedPart]:
    """The network's names have a prefix that the file's lack: it was saved from a module inside."""
    first = {name.partition(".")[0] for name in names}
    prefix = f"{next(iter(first))}." if len(first) == 1 else ""
    inside = {f"{prefix}{name}": tensor for name, tensor in tensors.items()} if prefix else {}
    count = sum(name in names for name in inside)
    if count:
        yield MatchedPart(part, "", prefix, inside, (), count)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """A dotted name cut at every dot, and before its beginning."""
    yield "", name
    for index, character in enumerate(name):
        if character == ".":
            yield name[: index + 1], name[index + 1 :]


def _without_wrappers(tensors: Tensors) -> Tensors:
    """Names without the components that wrappers add inside; the same mapping where two would become one."""
    renamed = {".".join(p for p in name.split(".") if p not in _WRAPPERS): value for name, value in tensors.items()}
    return renamed if len(renamed) == len(tensors) else tensors


def _original_prefix(part: Part, prefix: str, rest: str) -> str:
    """What was removed, in the file's own words where it is one prefix."""
    for name in part.tensors:
        if name.endswith(rest) and (before := name.removesuffix(rest)).endswith((".", "")):
            return before
    return prefix + " and ".join(f"{word}." for word in _WRAPPERS)
