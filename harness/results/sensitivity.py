"""The typed record of a sensitivity analysis: what `sensitivity.json` holds.

The shape is stable: a field is added, never renamed, without a new `SCHEMA_VERSION`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from harness.results import ConfidenceInterval, PairedComparison, Record, Variant
from harness.results.upgrade import upgraded_sensitivity

SCHEMA_VERSION: Final = 2

SearchStatus = Literal["nothing_to_skip", "found", "unreachable", "too_few_samples"]


class LayerCost(Record):
    """What quantizing one layer alone costs; all other layers are not quantized."""

    layer: str
    """Dotted module name, as skip sets name it; empty for operations of the network itself."""
    operators: tuple[str, ...]
    """What of the module the target quantizes, for instance `conv2d`."""
    weights: int
    """Quantized weights; 0 for layers that have none."""
    is_container: bool
    """Other layers are inside it (or it is the whole network): a skip pattern of this name would skip them too."""
    sqnr_db: float | None
    """10 log10(sum(y**2) / sum((y - q)**2)) of the network's outputs; None when nothing changed (infinite)."""
    alone: PairedComparison | None = None
    """Top-1 against FP32 with this layer alone quantized; only for the layers that cost the most."""


class Trial(Record):
    """One skip set that was judged."""

    skip: tuple[str, ...]
    judged: PairedComparison
    """Top-1 on the held-out samples against FP32 on the same samples."""


class SkipSearch(Record):
    """The search for a small skip set that meets the budget."""

    budget: float
    """Largest loss of top-1, as a share, that the whole interval of the difference must stay below."""
    confidence: float
    status: SearchStatus
    provable_drop: float
    """The smallest budget that this many samples can prove when no prediction changes at all."""
    chosen: Trial | None
    """The skip set that was found; when none meets the budget, the one that came closest."""
    chosen_interval: ConfidenceInterval | None
    """Interval of the chosen set's difference that allows for its having been picked among all trials (Bonferroni)."""
    trials: tuple[Trial, ...]
    """All of them, in the order in which they were tried."""


class Ranking(Record):
    """The layers of one PTQ variant by what they cost, most sensitive first."""

    calibration_samples: int
    data_passes: int
    sqnr_db: float | None
    """With all layers quantized."""
    layers: tuple[LayerCost, ...]
    fp32_top1: float | None = None
    """On the held-out samples; None without labels."""
    quantized: PairedComparison | None = None
    """Top-1 against FP32 with all layers quantized, on the held-out samples."""
    held_out: dict[str, int] = Field(default_factory=dict)
    """Where the held-out samples come from, and how many from where."""


class Analysis(Ranking):
    """One PTQ variant: its layers by what they cost, and the skip set."""

    variant: Variant
    search: SkipSearch | None = None
    fragment: str | None = None
    """File with the scenario fragment, beside the record."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """What the stages took, whenever that was."""
    cached: bool = False
    """Nothing was computed: all came from the store."""

    @property
    def n(self) -> int:
        """Held-out samples."""
        return sum(self.held_out.values())

    @property
    def meets_budget(self) -> bool:
        """Whether a skip set, or none, is proven to meet the budget; true where no budget can be judged."""
        return self.search is None or self.search.status in ("nothing_to_skip", "found")


class Failure(Record):
    """A variant that could not be analysed."""

    variant_id: str
    reason: str


class SensitivityRecord(Record):
    """One call of `harness sensitivity`."""

    schema_version: Literal[2] = SCHEMA_VERSION
    scenario: str
    scenario_file: str
    started_at: str
    """ISO 8601, UTC."""
    environment: dict[str, Any]
    analyses: tuple[Analysis, ...]
    failures: tuple[Failure, ...] = ()

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> SensitivityRecord:
        """Read what `save` wrote."""
        return cls.model_validate_json(upgraded_sensitivity(path.read_bytes()))
