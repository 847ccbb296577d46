"""How the latest value of a series lies to the ones before it: a direction for the eye, not a proof."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

from harness.history.trends import Trend, ends_between_runs, margin_of

EARLIER_RUNS = 5
"""Earlier runs whose median the latest value is compared with."""


@dataclass(frozen=True)
class LatestChange:
    """The latest value against the median of the runs before it."""

    before: float
    runs: int
    """Earlier runs in the median."""
    direction: Literal["up", "down", "level"]
    """`level`: the difference is within the figure's margin, or within its interval."""
    is_better: bool | None
    """None where it is level, or where more is neither better nor worse."""


def latest_change(trend: Trend) -> LatestChange | None:
    """None where the series has one run."""
    *earlier, latest = trend.values[-EARLIER_RUNS - 1 :]
    if not earlier:
        return None
    before = statistics.median(earlier)
    margin = margin_of(trend.entries[-1])
    allowed = 0.0 if margin is None else margin.size * abs(before) if margin.kind == "ratio" else margin.size
    low, high = ends_between_runs(trend.entries[-1])
    is_noise = low is not None and high is not None and low <= before <= high
    if is_noise or abs(latest - before) <= allowed:
        return LatestChange(before, len(earlier), "level", None)
    rose = latest > before
    more_is_better = trend.entries[-1].figure.higher_is_better
    return LatestChange(
        before, len(earlier), "up" if rose else "down", None if more_is_better is None else rose == more_is_better
    )
