"""What a run's folder keeps for `harness ship`: how engines are opened, and test samples with their outputs."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from harness.data.samples import Splits
from harness.metrics.base import Evidence
from harness.results import Deployment, Example
from harness.runs.plan import VariantPlan
from harness.targets import get_target

EXAMPLES: Final = "samples/examples"
COUNT = 3
_MOST_OUTPUT_BYTES = 2**20
"""Limit of the outputs of one sample: outputs for every pixel would fill disks."""
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def keep_deployment(directory: Path, plan: VariantPlan, splits: Splits) -> Deployment | None:
    """Copy the target's script below `directory`; None for a variant without an engine."""
    if plan.build is None:
        return None
    options, script = dict(plan.build.options), get_target(plan.variant.target).predict_script()
    if script is None:
        return Deployment(options=options)
    needed = [*(["pillow"] if splits.reading.decode is not None else []), *script.distributions]
    file = f"engines/{plan.variant.target}.predict.py"
    (directory / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(script.path, directory / file)
    return Deployment(options=options, script=file, requirements=tuple(map(_pinned, needed)))


def _pinned(distribution: str) -> str:
    """With the version that is installed here, where it is."""
    try:
        return f"{distribution}=={importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return distribution


def keep_examples(directory: Path, splits: Splits) -> tuple[Example, ...]:
    """Copy the files of a few test samples below `directory`, or their pixels where they are no files."""
    (directory / EXAMPLES).mkdir(parents=True, exist_ok=True)
    labels = splits.test.labels if splits.test.labels is not None and splits.test.labels.ndim == 1 else None
    found = []
    for place, number in enumerate(_chosen(splits)):
        file = _keep(splits, number, directory, f"{EXAMPLES}/{place + 1}")
        found.append(Example(number=number, file=file, label=None if labels is None else int(labels[number])))
    return tuple(found)


def keep_outputs(directory: Path, examples: Sequence[Example], evidence: Iterable[Evidence]) -> Mapping[str, str]:
    """Write what every engine made of the examples; the files by id of the variant."""
    numbers = [example.number for example in examples]
    files = {}
    for item in evidence:
        if item.outputs is not None and numbers and item.outputs[0].nbytes <= _MOST_OUTPUT_BYTES:
            files[item.variant.id] = f"{EXAMPLES}/{item.variant.id}.npy"
            np.save(directory / files[item.variant.id], item.outputs[numbers])
    return files


def _chosen(splits: Splits) -> list[int]:
    """The first sample of each of the first classes, filled up with the first samples."""
    files = splits.test_files or (Path(),) * len(splits.test)
    usable = [number for number, file in enumerate(files) if file is not None]
    labels = splits.test.labels
    if labels is None or labels.ndim != 1:
        return usable[:COUNT]
    first_of_class = {int(labels[number]): number for number in reversed(usable)}
    ordered = sorted(first_of_class.values())
    return [*ordered, *(number for number in usable if number not in ordered)][:COUNT]


def _keep(splits: Splits, number: int, directory: Path, stem: str) -> str:
    source = splits.test_files[number] if splits.test_files else None
    if source is None:
        np.save(directory / f"{stem}.npy", splits.test.images[number].numpy())
        return f"{stem}.npy"
    suffix = source.suffix.lower()
    name = stem + (suffix if suffix in _SUFFIXES else "")
    shutil.copyfile(source, directory / name)
    return name
