"""One side of a comparison: the record of a run, and what of its raw material a judgement needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import shortened
from harness.paths import file_problem, is_inside
from harness.results import Row, RunResults

DIGEST_CHARACTERS = 12
STAGES = ("train", "calibrate", "quantize", "finetune", "export", "build")
"""In the order of the graph; what comes later is not made from a variant's settings alone."""
_PREDICTIONS = Path("samples") / "predictions.parquet"
_LABEL = "label"
_LABEL_NAME = "label_name"
"""The same in words, for people who open the file; nothing is compared by it."""


class DamagedSamples(Exception):
    """A file of per-sample results that cannot be read; it is there, so leaving it out would change the test."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged: {shortened(' '.join(why.split()), 200)}")


@dataclass(frozen=True)
class Material:
    """Beside the row of one variant: what is needed to compare it in pairs and to find causes."""

    correct: npt.NDArray[np.bool_] | None = None
    """Per test sample, whether top-1 is the label."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """First characters of the sha256 of its files: `onnx`, `engine`."""
    stored_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the ONNX file's initializers by their type, for instance `FLOAT` and `INT8`."""
    stages: Mapping[str, str] = field(default_factory=dict)
    """First characters of the key of each stage: equal keys mean equal settings, inputs, code and libraries."""


@dataclass(frozen=True)
class Snapshot:
    """A run or a stored baseline, ready to be compared."""

    name: str
    """How the user named it."""
    results: RunResults
    material: Mapping[str, Material] = field(default_factory=dict)
    """By variant id."""
    is_baseline: bool = False

    @property
    def rows(self) -> dict[str, Row]:
        """Rows by variant id."""
        return {row.variant.id: row for row in self.results.rows}

    def of(self, variant_id: str) -> Material:
        """The material of one variant; an empty one where there is none."""
        return self.material.get(variant_id, Material())


def snapshot_of_run(results: RunResults, directory: Path | None, name: str) -> Snapshot:
    """A run with the material that its folder still holds; of a record without a folder, its stages alone."""
    stages = _stages(results)
    correct = {} if directory is None else read_correct(directory)
    material = {
        row.variant.id: Material(
            correct=correct.get(row.variant.id),
            digests=_digests(row, directory),
            stored_bytes=_stored_bytes(row, directory),
            stages=stages.get(row.variant.id, {}),
        )
        for row in results.rows
    }
    return Snapshot(name, results, material)


def read_correct(directory: Path) -> dict[str, npt.NDArray[np.bool_]]:
    """Whether each prediction of a run is right, by variant id; nothing without labels or without the file.

    DamagedSamples for a file that cannot be read.
    """
    import pandas as pd
    from pandas.api.types import is_integer_dtype

    path = directory / _PREDICTIONS
    if file_problem(path) == "does not exist":
        return {}
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # Arrow raises many kinds
        raise DamagedSamples(path, str(error)) from error
    if _LABEL not in frame:
        return {}
    frame = frame.drop(columns=_LABEL_NAME, errors="ignore")
    if not frame.columns.is_unique or not all(is_integer_dtype(kind) for kind in frame.dtypes):
        raise DamagedSamples(path, "its columns are not one class number for each sample")
    labels = frame[_LABEL].to_numpy()
    return {str(name): frame[name].to_numpy() == labels for name in frame.columns if name != _LABEL}


def _stages(results: RunResults) -> dict[str, dict[str, str]]:
    keys: dict[str, dict[str, list[str]]] = {}
    for run in results.stages:
        if run.stage in STAGES:
            for variant_id in run.variants:
                keys.setdefault(variant_id, {}).setdefault(run.stage, []).append(run.key[:DIGEST_CHARACTERS])
    return {
        variant_id: {stage: "+".join(sorted(found[stage])) for stage in STAGES if stage in found}
        for variant_id, found in keys.items()
    }


def _files(row: Row, directory: Path | None) -> dict[str, Path]:
    if directory is None:
        return {}
    found = {kind: directory / row.files[kind] for kind in ("onnx", "engine") if kind in row.files}
    return {kind: path for kind, path in found.items() if is_inside(path, directory) and file_problem(path) is None}


def _digests(row: Row, directory: Path | None) -> dict[str, str]:
    return {kind: _sha256(path)[:DIGEST_CHARACTERS] for kind, path in _files(row, directory).items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _stored_bytes(row: Row, directory: Path | None) -> dict[str, int]:
    path = _files(row, directory).get("onnx")
    if path is None:
        return {}
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception:  # whatever protobuf makes of a damaged file: a cause less, not an error
        return {}
    found: dict[str, int] = {}
    for tensor in graph.initializer:
        try:
            name = onnx.TensorProto.DataType.Name(tensor.data_type)
            found[name] = found.get(name, 0) + _tensor_bytes(tensor.data_type, tensor.dims)
        except (ValueError, KeyError, OverflowError):  # a number that is no type
            return {}
    return dict(sorted(found.items()))


def _tensor_bytes(data_type: int, dims: Sequence[int]) -> int:
    import onnx

    return int(np.prod(dims, dtype=np.int64)) * onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize
