"""Settings that every load scenario has."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Lt

from harness.fields import Count, Section, Unit, WholeNumber

TargetPercentile = Annotated[float, Gt(0), Lt(100), Unit("%")]


class LoadSettings(Section):
    """How long one load scenario runs. The keys of load scenarios are those of LoadGen's `user.conf`, with units."""

    min_duration_ms: Annotated[WholeNumber, Unit("ms")] = 10_000
    """The test goes on at least that long. MLPerf submissions take 600,000."""
    min_query_count: Annotated[Count, Unit("query")] = 100
    """The test issues at least that many queries (`offline`, which has one query: samples)."""
    warmup_ms: Annotated[WholeNumber, Unit("ms")] = 500
    """Untimed inferences before the test."""
    performance_sample_count: Annotated[Count, Unit("sample")] = 1024
    """Test samples that are kept in memory and drawn from; all when there are fewer."""
