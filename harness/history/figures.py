"""A run as flat records: one for each figure of each variant."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from harness.comparison.environments import machine_class
from harness.figures import FigureValue, figures_of
from harness.results import Row, RunResults
from harness.stats.between_runs import at_level

NO_FIGURE: Final = "status"
"""Name under which a variant without any figure is listed, with its status and without a value."""
_KEY_CHARACTERS = 16
_CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class RunRecord:
    """One run in the history."""

    key: str
    """The same for the same record, however often it is read."""
    run_id: str
    started_at: str
    """ISO 8601 in UTC."""
    scenario: str
    machine_class: str
    commit: str | None
    dirty: bool | None
    packages: Mapping[str, str]


@dataclass(frozen=True)
class FigureRecord:
    """One figure of one variant."""

    variant: str
    metric: str
    status: str
    value: float | None
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval; None where the figure is exact or none is known."""
    unit: str = ""
    higher_is_better: bool | None = None
    """None where more is neither better nor worse."""
    verdict: str | None = None
    reference: str | None = None
    """Id of the FP32 row."""


def run_record(results: RunResults) -> RunRecord:
    """The run without its figures."""
    git: Mapping[str, Any] = results.environment.get("git") or {}
    # How long a run took is known to less than a microsecond: no two runs share all of these.
    identity = json.dumps([results.scenario, results.run_id, results.started_at, results.wall_s])
    return RunRecord(
        key=sha256(identity.encode()).hexdigest()[:_KEY_CHARACTERS],
        run_id=results.run_id,
        started_at=in_utc(results.started_at),
        scenario=results.scenario,
        machine_class=machine_class(results.environment),
        commit=git.get("commit"),
        dirty=git.get("dirty"),
        packages=dict(results.environment.get("packages") or {}),
    )


def figure_records(results: RunResults) -> Iterator[FigureRecord]:
    """Every figure of every variant; a variant that has none is recorded with its status."""
    for row in results.rows:
        found = list(_figures(row, results.confidence))
        yield from found or [FigureRecord(row.variant.id, NO_FIGURE, row.status, None)]


def in_utc(text: str) -> str:
    """An ISO 8601 time, so that times sort as text; as it is where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone(UTC).isoformat() if moment.tzinfo else moment.replace(tzinfo=UTC).isoformat()


def _figures(row: Row, confidence: float) -> Iterator[FigureRecord]:
    compared = None if row.latency is None else row.latency.comparison
    for figure in figures_of(row):
        found = figure.read(row, confidence)
        if found is None or not math.isfinite(found.value):
            continue
        low, high = _ends(found)
        yield FigureRecord(
            variant=row.variant.id,
            metric=figure.name,
            status=row.status,
            value=found.value,
            low=low,
            high=high,
            unit=figure.unit,
            higher_is_better=figure.higher_is_better,
            verdict=getattr(row, figure.section).verdict if figure.carries_verdict else None,
            reference=None if compared is None else compared.reference,
        )


def _ends(found: FigureValue) -> tuple[float | None, float | None]:
    """Those of the 95 % interval, whatever the run's own confidence: series and their plots go on when it changes."""
    interval = found.interval
    if interval is None:
        return None, None
    ends = at_level(found.value, interval.ends, interval.confidence, _CONFIDENCE)
    return (None, None) if not all(map(math.isfinite, ends)) else ends
