"""The checks of the stages: the samples they run on, what they found, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
import torch

from harness.engine.context import StageContext
from harness.engine.graph import Inputs
from harness.results import StepCheck
from harness.stages.artifacts import WEIGHTS, Checked
from harness.stages.configs import CheckConfig
from harness.stages.loading import captured, read_splits, with_weights
from harness.verification.figures import N_SAMPLES
from harness.verification.onnx_steps import EXPECTED, ExpectedOutputs
from harness.verification.torch_steps import check_capture

if TYPE_CHECKING:
    from harness.data.samples import Samples
    from harness.engine.store import Artifact
    from harness.verification.figures import Array

    Arguments = ParamSpec("Arguments")

SAMPLES = "samples.npy"


class Checks:
    """The checks of one stage, which its result holds."""

    def __init__(self, passed: tuple[StepCheck, ...] = ()) -> None:
        """`passed` are those of the file that the stage starts from."""
        self._passed = [*passed]
        self._seconds = 0.0

    def run(self, check: Callable[Arguments, StepCheck], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Run a check, which raises when it fails."""
        started = time.perf_counter()
        self._passed.append(check(*args, **kwargs))
        self._seconds += time.perf_counter() - started

    def run_file(
        self,
        check: Callable[Concatenate[Arguments], tuple[StepCheck, ExpectedOutputs]],
        folder: Path,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> None:
        """Run the check of an ONNX file, and keep beside it what an engine is compared with."""
        started = time.perf_counter()
        passed, expected = check(*args, **kwargs)
        expected.save(folder)
        self._passed.append(passed)
        self._seconds += time.perf_counter() - started

    @property
    def fields(self) -> dict[str, Any]:
        """Those of `Checked`, for the stage's result."""
        return {"checks": tuple(self._passed), "check_s": self._seconds}


def check_samples(inputs: Inputs) -> Array:
    """The samples (N_SAMPLES, C, H, W) that the network was checked on."""
    samples: Array = np.load(inputs["check"].file(SAMPLES), allow_pickle=False)
    return samples


def expected_of(artifact: Artifact) -> ExpectedOutputs:
    """What the ONNX file of an artifact computes."""
    return ExpectedOutputs.load(artifact.file(EXPECTED))


def check(config: CheckConfig, inputs: Inputs, folder: Path, context: StageContext) -> Checked:
    """The captured graph against the network itself; every row of the model depends on it."""
    torch.set_num_threads(context.threads)
    weights = inputs["train"].file(WEIGHTS)
    samples = few(read_splits(config.data).test)
    np.save(folder / SAMPLES, samples)
    network, graph = with_weights(config.model, weights), captured(config.model, weights)
    checks = Checks()
    checks.run(check_capture, network, graph, samples)
    return Checked(**checks.fields)


def few(samples: Samples) -> Array:
    """Evenly spaced samples, repeated where there are fewer than N_SAMPLES."""
    indices = torch.linspace(0, len(samples) - 1, N_SAMPLES).long()
    array: Array = samples.inputs(indices).numpy()
    return array
