"""What a training run records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochLog(BaseModel):
    """One pass over the training samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    """From 1."""
    loss: float
    """Mean of the steps."""
    validation_top1: float
    lr: float
    """Learning rate of the last step."""
    seconds: float
    """Training and validation."""


class TrainLog(BaseModel):
    """A whole training run; the network was left as it was after `best_epoch`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: tuple[EpochLog, ...]
    best_epoch: int
    """The first epoch with the highest validation accuracy."""
    train_samples: int
    validation_samples: int
    steps: int
    seconds: float

    @property
    def best(self) -> EpochLog:
        """The epoch whose weights were kept."""
        return self.epochs[self.best_epoch - 1]
