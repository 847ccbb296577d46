"""Lasting steps in a series of figures: found by exact segmentation, believed only when proven.

The rule. A figure without noise (bytes, coverage, the accuracy of networks that are made anew bit by bit), known by
runs that repeat each other to the last digit, has stepped wherever its value changed by more than its margin and a
second run confirms the new value. For all others:

1. Single outliers are moved to within `_OUTLIER` standard deviations of the median of their neighbours.
   `ruptures` (Truong, Oudre & Vayatis 2020, Signal Processing 167:107299) proposes places: PELT (Killick, Fearnhead &
   Eckley 2012), the exact optimum of squared distances from the means of the segments and a penalty for each segment.
   A segment has at least `MIN_RUNS` runs.
2. Each place is tested with Student's t between the segments on its two sides. The noise is the scatter of the runs
   within all segments, and never less than the runs' own intervals say: what varies from run to run is in the first
   only, and a series too short to show its scatter still has the second.
3. p-values are multiplied by the number of places where a step could have been (Bonferroni), because the place was
   chosen after looking. The least proven place is dropped and the rest is tested again, until all that remain have
   p < `SIGNIFICANCE` and a size beyond the margin.

Within one series the chance of any false step is then below `SIGNIFICANCE`; `tests/history/test_steps.py` simulates it.
A figure that drifts has no level and is reported as several steps or none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

MIN_RUNS = 3
"""Runs that a level must last to be one, before a step and after it."""
SIGNIFICANCE = 0.01
_PENALTY = 3.0
"""Times noise variance and log of the number of runs; low, because what is proposed is tested afterwards."""
_OUTLIER = 3.0
_NORMAL_97_5 = float(stats.norm.ppf(0.975))
_MAD_TO_SIGMA = 1.4826
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A figure of one run; `standard_error` is what its own interval says, 0 where the figure is exact."""

    value: float
    standard_error: float = 0.0


@dataclass(frozen=True)
class Step:
    """From one level to another."""

    index: int
    """Index of the first observation at the new level."""
    before: float
    after: float
    p_value: float | None
    """Corrected for the number of places; None where the figure is exact."""


def standard_error(low: float | None, high: float | None) -> float:
    """From the ends of a 95 % interval; 0 without one."""
    return 0.0 if low is None or high is None else (high - low) / 2 / _NORMAL_97_5


def find_steps(series: Sequence[Observation], margin: float, significance: float = SIGNIFICANCE) -> list[Step]:
    """Proven steps in time order, each larger than `margin`."""
    values = np.array([each.value for each in series], dtype=np.float64)
    errors = np.array([each.standard_error for each in series], dtype=np.float64)
    if not errors.any() and _is_exact(values):
        return _changes(values, margin)
    if len(values) < 2 * MIN_RUNS:
        return []
    values = _without_outliers(values, errors)
    places = _proposed(values, errors)
    while places:
        steps = [_tested(values, errors, places, number) for number in range(len(places))]
        weakest = max(range(len(steps)), key=lambda number: steps[number].p_value or 0.0)
        p_value = steps[weakest].p_value
        small = [number for number, step in enumerate(steps) if abs(step.after - step.before) <= margin]
        if p_value is not None and p_value >= significance:
            del places[weakest]
        elif small:
            del places[small[0]]
        else:
            return steps
    return []


def _is_exact(values: Values) -> bool:
    """Whether runs repeat each other to the last digit, as only figures without noise do."""
    return len(values) < 2 or bool(np.mean(np.diff(values) == 0) >= 0.5)


def _changes(values: Values, margin: float) -> list[Step]:
    """A single run at a new value may be an outlier; the next one must confirm it."""
    steps: list[Step] = []
    level = float(values[0]) if len(values) else 0.0
    for place in range(1, len(values) - 1):
        value, following = float(values[place]), float(values[place + 1])
        if abs(value - level) > margin and abs(following - value) <= margin:
            steps.append(Step(place, level, value, None))
            level = value
    return steps


def _proposed(values: Values, errors: Values) -> list[int]:
    """Places of an optimal segmentation with a low penalty."""
    import ruptures

    penalty = max(_PENALTY * _noise(values, errors) ** 2 * math.log(len(values)), float(np.finfo(np.float64).tiny))
    search = ruptures.KernelCPD(kernel="linear", min_size=MIN_RUNS).fit(values[:, None])
    return [int(place) for place in search.predict(pen=penalty)[:-1]]


def _noise(values: Values, errors: Values) -> float:
    """Standard deviation from differences of neighbours, which a few steps do not disturb, or from the intervals."""
    scatter = _MAD_TO_SIGMA * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)
    return max(scatter, float(np.median(errors)))


def _without_outliers(values: Values, errors: Values) -> Values:
    """Single outliers, moved to `_OUTLIER` standard deviations from the level (winsorized).

    A level of `MIN_RUNS` runs is the majority of some `2 * MIN_RUNS - 1` neighbours, and so their median; fewer never
    are.
    """
    width = 2 * MIN_RUNS - 1
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    reach = _OUTLIER * _noise(values, errors)
    moved = values.copy()
    for place, value in enumerate(values):
        around = medians[max(0, place - width + 1) : place + 1]
        level = around[np.abs(around - value).argmin()]
        moved[place] = np.clip(value, level - reach, level + reach)
    return moved


def _tested(values: Values, errors: Values, places: Sequence[int], number: int) -> Step:
    """Step at one of the places, against the noise within all segments."""
    ends = [0, *places, len(values)]
    segments = [slice(*pair) for pair in itertools.pairwise(ends)]
    before, after = segments[number], segments[number + 1]
    degrees = len(values) - len(segments)
    squares = sum(float(((values[part] - values[part].mean()) ** 2).sum()) for part in segments)
    scatter = squares / degrees
    variance = sum(
        max(scatter, float((errors[part] ** 2).mean())) / (part.stop - part.start) for part in (before, after)
    )
    change = float(values[after].mean() - values[before].mean())
    single = 0.0 if variance == 0 else 2 * float(stats.t.sf(abs(change) / math.sqrt(variance), degrees))
    looks = len(values) - 2 * MIN_RUNS + 1
    return Step(
        places[number], float(values[before].mean()), float(values[after].mean()), min(1.0, single * max(looks, 1))
    )
