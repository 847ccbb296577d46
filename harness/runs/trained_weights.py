"""The FP32 weights of a run: which they are, and a copy of those that the harness trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.results import Fp32Weights
from harness.runs.plan import VariantPlan
from harness.runs.rescue import Problems
from harness.runs.rows import RunOutcomes
from harness.stages.artifacts import WEIGHTS
from harness.stages.configs import TrainConfig

FOLDER = "weights"


def keep_weights(
    plans: Sequence[VariantPlan], run_outcomes: RunOutcomes, directory: Path, problems: Problems
) -> tuple[Fp32Weights, ...]:
    """The weights of every network; those that were trained are copied to `weights/MODEL.safetensors`.

    A scenario can start from such a copy: `weights: FILE`. What the user gave as a file is not copied.
    """
    found: dict[str, Fp32Weights] = {}
    for plan in plans:
        model, artifact = plan.variant.model, run_outcomes.artifact(plan, "train")
        if model in found or artifact is None or WEIGHTS not in artifact.manifest.files:
            continue
        sha256, name = artifact.manifest.files[WEIGHTS].sha256, f"{FOLDER}/{model}.safetensors"
        found[model] = Fp32Weights(model=model, sha256=sha256)
        config = plan.tasks["train"].config
        if not isinstance(config, TrainConfig) or config.recipe is None:
            continue
        with problems.noted(directory / name):
            (directory / FOLDER).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.file(WEIGHTS), directory / name)
            found[model] = Fp32Weights(model=model, sha256=sha256, file=name)
    return tuple(found.values())
