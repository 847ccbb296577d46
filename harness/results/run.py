"""The record of a run: what `results.json` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from harness.paths import read_bounded, replace_text
from harness.results.base import GateVerdict, Record
from harness.results.calibration import Calibration
from harness.results.checks import check_environment, check_rows, check_values
from harness.results.choice import EngineChoice
from harness.results.data import Dataset, Example, Fp32Weights, WeightsFile
from harness.results.decision import Decision, QatGain
from harness.results.network import Network
from harness.results.paired import ConfidenceInterval
from harness.results.row import Row
from harness.results.upgrade import upgraded_results
from harness.results.variant import Variant

SCHEMA_VERSION: Final = 3
MAX_RECORD_BYTES: Final = 2**28
"""A larger file is refused before it is read."""
Environment = Annotated[dict[str, Any], AfterValidator(check_environment)]
"""Conditions of a run, as `machine.environment` reads them; parts may be missing."""


class Gate(Record):
    """One limit that the scenario set, and how a variant did against it."""

    variant: str
    metric: str
    limit: str
    """In words, for instance `at most 0.35 of fp32`."""
    value: float | None
    """What the limit is compared with: the figure, or how it relates to `compared_with`."""
    verdict: GateVerdict
    """`pass`: the whole interval keeps the limit. `fail`: a breach is proven. `inconclusive`: anything else."""
    reason: str | None = None
    interval: ConfidenceInterval | None = None
    """Interval of `value`; None where it is exact or no interval is known."""
    compared_with: str | None = None
    """Id of the FP32 row, or the file of the baseline."""
    relation: Literal["of", "below", "above"] | None = None
    """What `value` is: a multiple of the other figure, or how far below or above it; None for the figure itself."""
    unit: str | None = None
    """Unit of the figure; None in records from before it was kept."""
    bound: float | None = None
    """The number in `limit`."""
    basis: str | None = None
    """In what both figures were compared, where that is not the figure itself."""


class StageRun(Record):
    """One stage of the graph in this run."""

    stage: str
    key: str
    cached: bool
    seconds: float
    variants: tuple[str, ...]
    """Ids of the variants that use it."""


class Spread(Record):
    """How far apart several values of one figure are."""

    n: int
    mean: float
    sd: float
    """Standard deviation with n - 1."""
    min: float
    max: float


class SeedSpread(Record):
    """QAT variants that differ in their seed alone."""

    model: str
    target: str
    """The place: the target and, where one is named, the GPU generation."""
    batch_size: int
    variants: tuple[str, ...]
    """Variant ids, one per seed."""
    representative: str
    """Variant id of the seed with the median value: what conclusions speak of."""
    metric: str
    """`top-1`, or the metric of the task."""
    value: Spread
    drop: Spread | None = None
    """What was lost against FP32."""

    @property
    def group(self) -> tuple[str, str, int]:
        """As `Variant.group`."""
        return self.model, self.target, self.batch_size


class Conclusion(Record):
    """What the run proves about one model on one target, in words."""

    model: str
    target: str
    """The place: the target and, where one is named, the GPU generation."""
    batch_size: int
    text: str
    recommended: str | None = None
    """Variant id to ship of this target alone, or None when nothing is proven."""
    qat_gains: tuple[QatGain, ...] = ()
    """QAT against PTQ of the same settings; none in records from before they were kept."""


class RunResults(Record):
    """Everything one run found out."""

    schema_version: Literal[3] = SCHEMA_VERSION
    scenario: str
    scenario_file: str | None = None
    question: str | None = None
    run_id: str
    started_at: str
    """ISO 8601 with time zone."""
    wall_s: float
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Level of all intervals and verdicts."""
    environment: Environment
    datasets: tuple[Dataset, ...] = ()
    weights: tuple[WeightsFile, ...] = ()
    fp32_weights: tuple[Fp32Weights, ...] = ()
    """Empty in records from before it was kept."""
    rows: tuple[Row, ...]
    decisions: tuple[Decision, ...] = ()
    """What to do with each model; none in records from before they were kept."""
    conclusions: tuple[Conclusion, ...] = ()
    choices: tuple[EngineChoice, ...] = ()
    """Which engine, where the scenario has several targets on one kind of device."""
    qat_seeds: tuple[SeedSpread, ...] = ()
    """Where QAT was trained from several seeds."""
    gates: tuple[Gate, ...] = ()
    stages: tuple[StageRun, ...] = ()
    examples: tuple[Example, ...] = ()
    """Test samples that are kept with the outputs of every engine; none in records from before they were kept."""
    calibration_samples: dict[str, int] = Field(default_factory=dict)
    """Samples consumed by the calibration pass of each model."""
    calibrations: tuple[Calibration, ...] = ()
    """Empty, as the next one, in records from before it was kept."""
    networks: tuple[Network, ...] = ()
    """One for each model that was exported."""
    warnings: tuple[str, ...] = ()
    """What makes the whole run doubtful, most of it about the data; shown at the top of every report."""

    def row(self, variant_id: str) -> Row:
        """The row of one variant; KeyError when there is none."""
        return next_or_raise(self.rows, variant_id)

    def fp32_of(self, variant: Variant) -> Row | None:
        """The FP32 row that a variant is judged against."""
        return next((row for row in self.rows if row.variant.is_fp32_of(variant)), None)

    def save(self, path: Path) -> None:
        """Write as JSON: all of it, or nothing. OSError where that cannot be done."""
        replace_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> RunResults:
        """Read what `save` of any version wrote.

        ValueError (pydantic's included) when it does not fit, OSError when it is no file.
        """
        results = cls.model_validate_json(upgraded_results(read_bounded(path, MAX_RECORD_BYTES)))
        check_rows(results.rows)
        check_values(results)
        return results


def next_or_raise(rows: tuple[Row, ...], variant_id: str) -> Row:
    """The row whose variant has this id."""
    for row in rows:
        if row.variant.id == variant_id:
            return row
    raise KeyError(variant_id)
