"""Baselines: what a later run is judged against, as a small JSON file that is reviewed and committed.

One block per variant, keys sorted, figures rounded, and nothing that is different each time it is saved but the
measured figures themselves. Lists of layers, which variants share, stand once.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from harness.comparison.environment_rules import rule_for
from harness.comparison.environments import machine_class
from harness.comparison.snapshot import DIGEST_CHARACTERS, Material, Snapshot
from harness.errors import UsageError, shortened
from harness.paths import file_name_problem, read_bounded, replace_text
from harness.results import (
    MAX_RECORD_BYTES,
    Dataset,
    Environment,
    Fp32Weights,
    Layer,
    Record,
    Row,
    RunResults,
    WeightsFile,
)
from harness.results.checks import check_rows, check_values
from harness.results.upgrade import upgraded_baseline

FOLDER = "baselines"
BASELINE_VERSION: Final = 2
_NAME_OF_A_RUN = "results.json"
SIGNIFICANT_DIGITS = 6
_SHORT_LIST = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
_INTERVAL = re.compile(r"(interval\": )\{\s+([^{}]*?)\s+\}")
_ITEM = re.compile(r"^( *)\{\s+(\"[^{}]*?)\s+\}(?=,?$)", re.MULTILINE)
_KEPT_LISTS = frozenset({"steps"})
"""Short lists of records that comparisons read."""


class StoredVariant(Record):
    """One variant of a baseline."""

    row: dict[str, Any]
    """Fields of `results.Row`, without what is empty; `coverage.layers` names an entry of `layers`."""
    correct: str | None = None
    """Per test sample, whether top-1 was right: packed bits, zlib, base64."""
    samples: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """How many bits `correct` holds."""
    digests: dict[str, str] = Field(default_factory=dict)
    stored_bytes: dict[str, int] = Field(default_factory=dict)
    stages: dict[str, str] = Field(default_factory=dict)


class Baseline(Record):
    """All that is needed to judge a new run without the run that it was saved from."""

    baseline_version: Literal[2] = BASELINE_VERSION
    scenario: str
    machine_class: str
    confidence: float = 0.95
    environment: Environment
    datasets: tuple[Dataset, ...] = ()
    weights: tuple[WeightsFile, ...] = ()
    fp32_weights: tuple[Fp32Weights, ...] = ()
    calibration_samples: dict[str, int] = Field(default_factory=dict)
    layers: dict[str, tuple[Layer, ...]] = Field(default_factory=dict)
    """Layers of engines that have weights, by a digest of the list."""
    variants: dict[str, StoredVariant]


def baseline_path(folder: Path, environment: Mapping[str, Any], name: str) -> Path:
    """Where the baseline of a scenario lies for machines like this one, always inside `folder`.

    UsageError for a name that is none of a file: records may come from anywhere.
    """
    file = f"{name}.json"
    if (problem := file_name_problem(name) or file_name_problem(file)) is not None:
        raise UsageError(f"`{shortened(name)}` {problem}", fix="give another name with --name")
    if file == _NAME_OF_A_RUN:
        raise UsageError(f"a baseline cannot be called `{name}`: runs are", fix="give another name with --name")
    return folder / machine_class(environment) / file


def baseline_of(snapshot: Snapshot) -> Baseline:
    """What of a run is stored."""
    results = snapshot.results
    layers: dict[str, tuple[Layer, ...]] = {}
    variants = {row.variant.id: _stored(row, snapshot.of(row.variant.id), layers) for row in results.rows}
    return Baseline(
        scenario=results.scenario,
        machine_class=machine_class(results.environment),
        confidence=results.confidence,
        environment=_lasting(results.environment),
        datasets=results.datasets,
        weights=results.weights,
        fp32_weights=results.fp32_weights,
        calibration_samples=results.calibration_samples,
        layers=layers,
        variants=variants,
    )


def save_baseline(snapshot: Snapshot, path: Path) -> None:
    """Write the baseline of a run, replacing the one that is there; all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, baseline_text(baseline_of(snapshot)))


def baseline_text(baseline: Baseline) -> str:
    """As JSON with one value per line, and intervals and items of lists on one line each."""
    plain = _rounded(baseline.model_dump(mode="json", exclude_defaults=True) | {"baseline_version": BASELINE_VERSION})
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False)
    text = _SHORT_LIST.sub(lambda found: f"[{' '.join(found.group(1).split())}]", text)
    text = _INTERVAL.sub(lambda found: f"{found.group(1)}{{{' '.join(found.group(2).split())}}}", text)
    return _ITEM.sub(lambda found: f"{found.group(1)}{{{' '.join(found.group(2).split())}}}", text) + "\n"


def load_baseline(path: Path) -> Snapshot:
    """Read what `save_baseline` of any version wrote; ValueError (pydantic's included) when it does not fit."""
    baseline = Baseline.model_validate_json(upgraded_baseline(read_bounded(path, MAX_RECORD_BYTES)))
    rows, material = [], {}
    for variant_id, stored in baseline.variants.items():
        rows.append(_row(stored, baseline.layers))
        material[variant_id] = Material(
            correct=None if stored.correct is None else unpacked_bits(stored.correct, stored.samples or 0),
            digests=stored.digests,
            stored_bytes=stored.stored_bytes,
            stages=stored.stages,
        )
    results = RunResults(
        scenario=baseline.scenario,
        run_id="baseline",
        started_at="",
        wall_s=0.0,
        confidence=baseline.confidence,
        environment=baseline.environment,
        datasets=baseline.datasets,
        weights=baseline.weights,
        fp32_weights=baseline.fp32_weights,
        calibration_samples=baseline.calibration_samples,
        rows=tuple(rows),
    )
    check_rows(results.rows)
    check_values(results)
    return Snapshot(str(path), results, material, is_baseline=True)


def packed_bits(flags: npt.NDArray[np.bool_]) -> str:
    """Booleans as text."""
    return base64.b64encode(zlib.compress(np.packbits(flags).tobytes(), 9)).decode("ascii")


def unpacked_bits(text: str, n: int) -> npt.NDArray[np.bool_]:
    """What `packed_bits` was given; ValueError when the text is damaged or holds fewer than n."""
    try:
        # No more than the bits that are wanted: a short text may stand for gigabytes.
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), max(n // 8 + 1, 1))
    except zlib.error as error:
        raise ValueError(f"damaged bits: {error}") from None
    bits = np.unpackbits(np.frombuffer(raw, np.uint8))
    if bits.size < n:
        raise ValueError(f"{bits.size} bits instead of {n}")
    return bits[:n].astype(np.bool_)


def _stored(row: Row, material: Material, layers: dict[str, tuple[Layer, ...]]) -> StoredVariant:
    plain = _without_long_lists(row.plain(exclude_defaults=True, exclude={"files", "cost"}))
    if row.coverage is not None:
        weighted = tuple(layer for layer in row.coverage.layers if layer.weight_type is not None)
        text = json.dumps([layer.model_dump(mode="json") for layer in weighted], sort_keys=True)
        digest = sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]
        layers[digest] = weighted
        plain["coverage"] |= {"layers": digest}
    return StoredVariant(
        row=plain,
        correct=None if material.correct is None else packed_bits(material.correct),
        samples=None if material.correct is None else len(material.correct),
        digests=dict(material.digests),
        stored_bytes=dict(material.stored_bytes),
        stages=dict(material.stages),
    )


def _without_long_lists(plain: dict[str, Any]) -> dict[str, Any]:
    """Without lists of records, such as figures per layer or per class, which no comparison reads."""
    kept: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            kept[key] = _without_long_lists(value)
        elif key in _KEPT_LISTS or not (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
            kept[key] = value
    return kept


def _row(stored: StoredVariant, layers: Mapping[str, tuple[Layer, ...]]) -> Row:
    plain = dict(stored.row)
    if "coverage" in plain:
        if not isinstance(plain["coverage"], dict):
            raise ValueError("`coverage` is not a mapping")
        digest = str(plain["coverage"].get("layers"))
        if digest not in layers:
            raise ValueError(f"there is no list of layers `{digest}`")
        plain["coverage"] = plain["coverage"] | {"layers": layers[digest]}
    return Row.model_validate(plain)


def _lasting(environment: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Conditions without those that change from minute to minute."""
    kept: dict[str, Any] = {}
    for key, value in environment.items():
        place = f"{prefix}{key}"
        if isinstance(value, Mapping):
            kept[key] = _lasting(value, f"{place}.")
        elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            kept[key] = [_lasting(item, f"{place}.{number}.") for number, item in enumerate(value)]
        elif rule_for(place).severity is not None:
            kept[key] = value
    return kept


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
