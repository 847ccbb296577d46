"""Everything a training run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from harness.training.average import State
from harness.training.log import EpochLog

_RECORD = "record"
"""Key in the file's metadata of what is not a tensor, as JSON."""


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

    def save(self, path: Path) -> None:
        """Write the file aside and rename it in, so that a kill leaves the previous one or this one."""
        slots = self.optimizer["state"]
        states = {"model": self.model, "best": self.best, "average": self.average}
        tensors = {f"{part}/{name}": tensor for part, state in states.items() for name, tensor in state.items()}
        tensors |= {f"optimizer/{index}/{name}": value for index, name, value in _tensors_of(slots)}
        tensors |= {"generator": self.generator, "global_generator": self.global_generator}
        record = {
            "step": self.step,
            "epochs": [epoch.model_dump(mode="json") for epoch in self.epochs],
            "average_updates": self.average_updates,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".part")
        copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        save_file(copies, aside, metadata={_RECORD: json.dumps(record)})
        aside.replace(path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint | None:
        """What `save` wrote; None when there is none, or when it is damaged."""
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                record = json.loads((file.metadata() or {})[_RECORD])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, KeyError, json.JSONDecodeError):
            return None
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
    """SGD and AdamW keep tensors only; None stands for a momentum that has not begun."""
    return [(index, name, value) for index, slot in slots.items() for name, value in slot.items() if value is not None]


def _part(tensors: Mapping[str, torch.Tensor], part: str) -> State:
    prefix = f"{part}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
