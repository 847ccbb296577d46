"""Everything a training run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from harness.training.average import State
from harness.training.log import EpochLog

_RECORD = "record"
"""Key in the file's metadata of what is not a tensor, as JSON."""
_SHA256 = "sha256"
"""Key of the checksum over the whole file, in which `_UNSEALED` stands in its own place."""
_UNSEALED = "0" * 64
_SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_LENGTH = 8
"""Bytes of the header's length, at the beginning of a safetensors file."""


class UnusableCheckpoint(Exception):
    """A checkpoint that training cannot go on from, with the reason."""


@dataclass(frozen=True)
class Checkpoint:
    """A training run between two epochs."""

    step: int
    epochs: tuple[EpochLog, ...]
    model: State
    best: State
    """Weights of the best epoch."""
    average: State
    average_updates: int
    optimizer: Mapping[str, Any]
    """`state_dict()` of the optimizer."""
    generator: torch.Tensor
    """State of the generator that shuffles and augments."""
    global_generator: torch.Tensor
    """State of torch's generator, which dropout draws from."""

    def save(self, path: Path, belongs_to: str) -> None:
        """Write the file aside and rename it in, so that a kill leaves the previous one or this one.

        `belongs_to` names the training run, which `load` must be given again.
        """
        slots = self.optimizer["state"]
        states = {"model": self.model, "best": self.best, "average": self.average}
        tensors = {f"{part}/{name}": tensor for part, state in states.items() for name, tensor in state.items()}
        tensors |= {f"optimizer/{index}/{name}": value for index, name, value in _tensors_of(slots)}
        tensors |= {"generator": self.generator, "global_generator": self.global_generator}
        record = {
            "belongs_to": belongs_to,
            "step": self.step,
            "epochs": [epoch.model_dump(mode="json") for epoch in self.epochs],
            "average_updates": self.average_updates,
        }
        copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        content = _sealed(save(copies, metadata={_RECORD: json.dumps(record), _SHA256: _UNSEALED}))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".part")
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    @classmethod
    def load(cls, path: Path, belongs_to: str) -> Checkpoint | None:
        """What `save` wrote; None when there is none.

        UnusableCheckpoint when a bit of the file is not as it was written, or when another training run wrote it.
        """
        if not os.path.lexists(path):
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UnusableCheckpoint(f"it cannot be read ({error.strerror})") from error
        if not _is_intact(content):
            raise UnusableCheckpoint("it is damaged")
        header = json.loads(content[_LENGTH : _LENGTH + int.from_bytes(content[:_LENGTH], "little")])
        record = json.loads(header["__metadata__"][_RECORD])
        if record["belongs_to"] != belongs_to:
            raise UnusableCheckpoint("it is of another recipe, network, data set or version")
        tensors = load(content)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer").items():
            index, _, slot = name.partition("/")
            slots.setdefault(int(index), {})[slot] = tensor
        return cls(
            step=record["step"],
            epochs=tuple(EpochLog.model_validate(epoch) for epoch in record["epochs"]),
            model=_part(tensors, "model"),
            best=_part(tensors, "best"),
            average=_part(tensors, "average"),
            average_updates=record["average_updates"],
            optimizer={"state": slots},
            generator=tensors["generator"],
            global_generator=tensors["global_generator"],
        )

    def restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Give a new optimizer of the same parameters the state of the old one."""
        own = optimizer.state_dict()
        optimizer.load_state_dict({"state": self.optimizer["state"], "param_groups": own["param_groups"]})


def _tensors_of(slots: Mapping[int, Mapping[str, Any]]) -> list[tuple[int, str, torch.Tensor]]:
    """SGD and AdamW keep tensors only; None is a momentum that has not begun."""
    return [(index, name, value) for index, slot in slots.items() for name, value in slot.items() if value is not None]


def _part(tensors: Mapping[str, torch.Tensor], part: str) -> State:
    prefix = f"{part}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _sealed(content: bytes) -> bytes:
    return content.replace(_UNSEALED.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def _is_intact(content: bytes) -> bool:
    seal = _SEAL.search(content)
    if seal is None:
        return False
    unsealed = content[: seal.start(1)] + _UNSEALED.encode() + content[seal.end(1) :]
    return hashlib.sha256(unsealed).hexdigest().encode() == seal[1]
