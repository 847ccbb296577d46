"""The contract of a PTQ step: what changes weights or biases beside choosing ranges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch.fx import GraphModule

Batches = Callable[[], Iterator[torch.Tensor]]
"""Starts a pass over the calibration samples, in batches (N, C, H, W)."""


class PtqStep(ABC):
    """One step. It is one file in `steps/` that defines `STEP`, whose name is that of the file, or a plug-in.

    A step is deterministic, and what it does must not depend on how the samples are split into batches.
    """

    name: ClassVar[str]
    keeps_function: ClassVar[bool] = True
    """Whether the FP32 network computes the same before and after a step that changes weights; it is checked."""


class WeightStep(PtqStep):
    """Changes weights before calibration, without data; the ranges are collected afterwards."""

    @abstractmethod
    def apply(self, captured: GraphModule) -> list[str]:
        """Change a captured, batch-norm-folded FP32 network in place; notes for people about what was left out."""


class CalibratedStep(PtqStep):
    """Changes weights or biases after the ranges are set, from calibration samples."""

    @abstractmethod
    def apply(self, prepared: GraphModule, batches: Batches) -> list[str]:
        """Change a prepared network in place; notes for people.

        The network fake-quantizes when it comes in and when it goes out, and every layer has a bias.
        """
