"""The smallest set of layers not to quantize: greedy, most sensitive first, then members are dropped again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.stats.intervals import PairedDifference
from harness.stats.verdict import is_non_inferior

SkipSet = tuple[str, ...]
Judge = Callable[[SkipSet], PairedDifference]


@dataclass(frozen=True)
class SkipSearchResult:
    """How a search ended."""

    status: Literal["nothing_to_skip", "found", "unreachable"]
    skip: SkipSet
    """Meets the budget, unless `unreachable`: then it is the one that came closest."""
    trials: dict[SkipSet, PairedDifference]
    """Every set that was judged, in order."""


def smallest_skip_set(candidates: Sequence[str], judge: Judge, budget: float) -> SkipSearchResult:
    """A skip set that meets the budget and of which no member can be dropped.

    `candidates` are skip patterns, most sensitive first. `budget` is a loss of accuracy as a share: a set meets it
    when the whole interval of its paired difference lies below. It takes at most 2 + n judgements to grow the set,
    and one per member and sweep to shrink it. The smallest of all sets it is not always: that would take 2^n.
    """
    search = _SkipSearch(judge, budget)
    if search.meets(()):
        return SkipSearchResult("nothing_to_skip", (), search.trials)
    if not search.meets(tuple(candidates)):
        # A part of the candidates that did better than all of them would do so by chance.
        closest = min(search.trials, key=lambda tried: search.trials[tried].drop_ci[1])
        return SkipSearchResult("unreachable", closest, search.trials)
    return SkipSearchResult("found", search.shrink(search.grow(candidates)), search.trials)


class _SkipSearch:
    def __init__(self, judge: Judge, budget: float) -> None:
        self._judge = judge
        self._budget = budget
        self.trials: dict[SkipSet, PairedDifference] = {}

    def meets(self, skip: SkipSet) -> bool:
        """Whether the loss is proven to be within the budget; every set is judged once."""
        if skip not in self.trials:
            self.trials[skip] = self._judge(skip)
        return is_non_inferior(self.trials[skip].drop_ci, self._budget)

    def grow(self, candidates: Sequence[str]) -> SkipSet:
        """The first beginning of `candidates` that meets the budget, else all of them."""
        for count in range(1, len(candidates) + 1):
            if self.meets(tuple(candidates[:count])):
                return tuple(candidates[:count])
        return tuple(candidates)

    def shrink(self, skip: SkipSet) -> SkipSet:
        """Drop members, least sensitive first, as long as the budget is met without them."""
        members = skip
        for member in reversed(skip):
            fewer = tuple(name for name in members if name != member)
            if self.meets(fewer):
                members = fewer
        return members if members == skip else self.shrink(members)
